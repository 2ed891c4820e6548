//! From what the file says to what it means; what is wrong is gathered.

mod rule;
mod sidecar;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use deserr::ValuePointerRef;
use serde_json::Value;

use super::catalogue::{self, Catalogue};
use super::document::{CertificatesDocument, InjectorDocument, SelfManagedDocument};
use super::names;
use super::{Certificates, Injector, SelfManaged};
use crate::config::mistakes::Mistakes;
use crate::config::values;

pub(super) const LISTEN: &str = "0.0.0.0:8443";
pub(super) const ADMIN_LISTEN: &str = "0.0.0.0:9533";
pub(super) const SERVICE: &str = "credential-relay-injector";
pub(super) const SECRET: &str = "credential-relay-injector-tls";
pub(super) const LEASE: &str = "credential-relay-injector";
pub(super) const WEBHOOK: &str = "credential-relay-injector";
pub(super) const LIFETIME: &str = "720h";
pub(super) use sidecar::{STARTUP, TOKEN_EXPIRATION, USER};

/// Within shorter ones no renewal can be told to every API server; longer ones are as good as keys that
/// never change.
const LIFETIMES: (Duration, Duration) =
    (Duration::from_secs(30), Duration::from_secs(365 * 24 * 3600));

/// A shorter lifetime than this is for looking at renewals.
const SHORT_LIFETIME: Duration = Duration::from_secs(3600);

const ROOT: ValuePointerRef<'static> = ValuePointerRef::Origin;

/// Checks the whole document; `value` is what it was read from, and `mistakes` are those found
/// before.
///
/// # Errors
/// Everything that is wrong, in order.
pub(super) fn resolve(
    mut document: InjectorDocument,
    value: &Value,
    mut mistakes: Mistakes,
) -> Result<Injector, Mistakes> {
    let found = &mut mistakes;
    let listen = address(document.listen.as_deref(), LISTEN, ROOT.push_key("listen"), found);
    let admin = document.admin.take().unwrap_or_default();
    let at = ROOT.push_key("admin");
    let admin = address(admin.listen.as_deref(), ADMIN_LISTEN, at.push_key("listen"), found);
    if let (Some(listen), Some(admin)) = (listen, admin)
        && listen.port() == admin.port()
        && listen.port() != 0
    {
        found.add(at.push_key("listen"), format!("port {} is listen's already", admin.port()));
    }
    let certificates = certificates(document.certificates.as_ref(), found);
    let env = sidecar::env(document.sidecar.as_ref(), found);
    let sidecar = sidecar::sidecar(document.sidecar.as_ref(), &env, found);
    let policy = document.policy.take();
    let rules = policy.iter().flatten().flatten();
    let inline_vault = rules.flat_map(|rule| &rule.vault_roles).any(|roles| !roles.is_empty());
    let inline = document.inline.as_ref();
    let inline_source = inline.is_some_and(|inline| inline.source.is_some())
        || found.touch(ROOT.push_key("inline"));
    let (catalogue, mut warnings) = catalogue::resolve(document, value, &env, inline_vault, found);
    let known = catalogue.as_ref().map(Catalogue::names);
    let beside = rule::Beside { profiles: known.as_deref(), inline_source };
    let rules = rule::rules(policy.as_ref(), &beside, found);
    if !mistakes.is_empty() {
        return Err(mistakes.in_order());
    }
    warnings.extend(rule::warnings(&rules, known.as_deref().unwrap_or_default()));
    warnings.extend(certificates.as_ref().and_then(short_lived));
    let injector = || {
        Some(Injector {
            listen: listen?,
            admin: admin?,
            certificates: certificates?,
            sidecar: sidecar?,
            catalogue: catalogue?,
            rules,
            warnings,
        })
    };
    // Each None has noted its mistake.
    injector().ok_or(mistakes)
}

fn address(
    given: Option<&str>,
    default: &str,
    at: ValuePointerRef<'_>,
    mistakes: &mut Mistakes,
) -> Option<SocketAddr> {
    mistakes.read(given.unwrap_or(default), at, values::listen)
}

fn certificates(
    given: Option<&CertificatesDocument>,
    mistakes: &mut Mistakes,
) -> Option<Certificates> {
    const CHOICE: &str = "write `files: { cert: …, key: … }`, or `self_managed: { namespace: … }`";
    let at = ROOT.push_key("certificates");
    let Some(given) = given else {
        mistakes.missing(at, &format!("missing; {CHOICE}"));
        return None;
    };
    let there = [("files", given.files.is_some()), ("self_managed", given.self_managed.is_some())];
    let one = mistakes.one_of(&there, at, CHOICE);
    let files = given.files.as_ref().map(|files| {
        let at = at.push_key("files");
        let what = "the path of a PEM file";
        let mut path = |text: &Option<String>, key| {
            mistakes.needed(text.as_deref(), at.push_key(key), what, values::absolute_path)
        };
        let (cert, key): (Option<PathBuf>, Option<PathBuf>) =
            (path(&files.cert, "cert"), path(&files.key, "key"));
        Some(Certificates::Files { cert: cert?, key: key? })
    });
    let own = given.self_managed.as_ref();
    let own = own.map(|own| self_managed(own, at.push_key("self_managed"), mistakes));
    one?;
    match own {
        Some(own) => own.map(Certificates::SelfManaged),
        None => files.flatten(),
    }
}

fn short_lived(certificates: &Certificates) -> Option<String> {
    match certificates {
        Certificates::SelfManaged(own) if own.lifetime < SHORT_LIFETIME => Some(format!(
            "certificates.self_managed.lifetime: {} s is for tests alone: all replicas and API servers must \
             have learned of each renewal within a part of it; {LIFETIME} is the default",
            own.lifetime.as_secs()
        )),
        Certificates::SelfManaged(_) | Certificates::Files { .. } => None,
    }
}

fn self_managed(
    given: &SelfManagedDocument,
    at: ValuePointerRef<'_>,
    mistakes: &mut Mistakes,
) -> Option<SelfManaged> {
    let what = "the namespace of the injector's Service, Secret and Lease";
    let namespace =
        mistakes.needed(given.namespace.as_deref(), at.push_key("namespace"), what, names::label);
    let mut name = |text: &Option<String>, key, default: &str| {
        mistakes.read(text.as_deref().unwrap_or(default), at.push_key(key), names::object)
    };
    let service = name(&given.service, "service", SERVICE);
    let secret = name(&given.secret, "secret", SECRET);
    let lease = name(&given.lease, "lease", LEASE);
    let webhook = name(&given.webhook, "webhook", WEBHOOK);
    let lifetime = given.lifetime.as_deref().unwrap_or(LIFETIME);
    let lifetime = mistakes.read(lifetime, at.push_key("lifetime"), |text| {
        let (least, most) = LIFETIMES;
        values::duration_within(text, least..=most, "a serving certificate lives")
    });
    Some(SelfManaged {
        namespace: namespace?,
        service: service?,
        secret: secret?,
        lease: lease?,
        webhook: webhook?,
        lifetime: lifetime?,
    })
}
