//! The relay's own rules, applied to what the sidecars are configured with, in the environment that
//! a sidecar has.

use std::collections::BTreeMap;

use deserr::ValuePointerRef;
use serde_json::{Map, Value};

use super::INLINE;
use super::files::Mounted;
use crate::arn::Partition;
use crate::config::Config;
use crate::config::document::{
    Document, EnvironmentDocument, HopDocument, Named, ProfileDocument, SourceDocument,
    VaultSourceDocument,
};
use crate::config::environment::{self, Environment, Origins};
use crate::config::injector::document::{InjectorDocument, RelayDocument};
use crate::config::mistakes::{Mistake, Mistakes, Place, Step};
use crate::config::resolve::{self, Listening};

const ROOT: ValuePointerRef<'static> = ValuePointerRef::Origin;

/// The profile as which inline roles of Vault's are checked.
const INLINE_VAULT: &str = "inline-vault";

/// What a pod is called, as far as templates name it.
#[derive(Clone, Copy, Debug)]
pub struct PodNames<'a> {
    /// Its name, or one of the same length: at admission it is often not known yet.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its service account.
    pub service_account: &'a str,
}

/// A pod as there are many.
const SOME_POD: PodNames<'static> =
    PodNames { name: "app-7c9d8b6f5d-x2x4z", namespace: "default", service_account: "default" };

/// The environment that a sidecar has, as far as the relay's configuration asks for it.
///
/// EKS's webhooks may add their variables only after the injector was asked, so those are taken for
/// granted: where they do not come, a profile that counts on them is refused by the sidecar.
pub(super) fn environment(
    env: &BTreeMap<String, String>,
    relay: &Map<String, Value>,
    pod: &PodNames<'_>,
) -> Environment {
    let region = relay.get("sts").and_then(|sts| sts.get("region")).and_then(Value::as_str);
    let region = region.or_else(|| env.get("AWS_REGION").map(String::as_str)).unwrap_or_default();
    let role = dummy_role(Partition::of_region(region));
    let of_pod = [
        ("POD_NAME", pod.name),
        ("POD_NAMESPACE", pod.namespace),
        ("POD_SERVICE_ACCOUNT", pod.service_account),
        ("CREDENTIAL_RELAY_NATIVE_SIDECAR", "true"),
        ("AWS_ROLE_ARN", &role),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials"),
        (
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token",
        ),
    ];
    let of_pod = of_pod.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let given = env.iter().map(|(name, value)| (name.clone(), value.clone()));
    of_pod.into_iter().chain(given).collect()
}

fn dummy_role(partition: Partition) -> String {
    format!("arn:{}:iam::000000000000:role/{INLINE}", partition.as_str())
}

/// What a profile of the catalogue cannot say, since the injector does.
pub(super) fn own_rules(document: &InjectorDocument, mistakes: &mut Mistakes) {
    let at = ROOT.push_key("profiles");
    for (name, profile) in document.profiles.iter().flat_map(|named| &named.0) {
        let at = at.push_key(name);
        if profile.access.is_some() {
            let what = "the injector says where the access tokens are: remove it";
            mistakes.add(at.push_key("access"), what);
        }
        if profile.credentials_file.is_some() {
            let what = "no other container would see the file: remove it, or give the pod a ConfigMap with its whole configuration";
            mistakes.add(at.push_key("credentials_file"), what);
        }
        let rest = name.strip_prefix(INLINE);
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-')) {
            mistakes.add(at, "inline profiles are called so; choose another name");
        }
    }
}

/// Checks all profiles at once, and the inline form by profiles of its kind. None where something is
/// wrong.
pub(super) fn check(
    document: InjectorDocument,
    env: &BTreeMap<String, String>,
    relay: &Map<String, Value>,
    inline_vault: bool,
    mistakes: &mut Mistakes,
) -> Option<Config> {
    let environment = environment(env, relay, &SOME_POD);
    let mut found = mistakes.take(is_of_sidecar).moved(to_sidecar);
    environment::check_names(&environment, true, &mut found);
    let mounted = Mounted::of(&document, mistakes);
    let document = of_sidecar(document, &environment, inline_vault);
    let origins = Origins::default();
    let checked =
        resolve::resolve(&document, &origins, &environment, Listening::AsConfigured, found);
    let mut config = match checked {
        Ok(config) => config,
        Err(found) => {
            mistakes.extend(found.moved(|place| to_injector(place, env)));
            return None;
        }
    };
    let (mut found, mut warnings) = listeners(&config);
    mounted.check(&config.files, &mut found, &mut warnings);
    let warnings = warnings.in_order().moved(|place| to_injector(place, env));
    config.warnings.extend(warnings.iter().map(Mistake::to_string));
    if found.is_empty() {
        return Some(config);
    }
    mistakes.extend(found.moved(|place| to_injector(place, env)));
    None
}

/// What is wrong with where the sidecars listen, and what should be known: it must be right in every pod.
fn listeners(config: &Config) -> (Mistakes, Mistakes) {
    let (mut mistakes, mut warnings) = (Mistakes::default(), Mistakes::default());
    let (endpoint, admin) = (ROOT.push_key("endpoint"), ROOT.push_key("admin"));
    for (listen, at) in [(config.endpoint.listen, endpoint), (config.admin.listen, admin)] {
        if listen.port() == 0 {
            let what = "a port of 0 is none that a pod could be told; choose one";
            mistakes.add(at.push_key("listen"), what);
        }
    }
    let address = config.admin.listen.ip();
    if !address.is_unspecified() {
        let what = format!(
            "the kubelet asks at the pod's own address, and never reaches {address}: listen on 0.0.0.0, or on \
             [::] where pods have IPv6 alone"
        );
        mistakes.add(admin.push_key("listen"), what);
    }
    let address = config.endpoint.listen.ip();
    if address.is_ipv6() && !address.is_unspecified() {
        let what =
            "some SDKs ask at no IPv6 address, that for Swift among them; 127.0.0.1 serves ::1 too";
        warnings.add(endpoint.push_key("listen"), what);
    }
    (mistakes, warnings)
}

/// The document of a sidecar that has every profile.
fn of_sidecar(
    document: InjectorDocument,
    environment: &Environment,
    inline_vault: bool,
) -> Document {
    let RelayDocument { endpoint, admin, audit, sandbox, sts, vault } =
        document.relay.unwrap_or_default();
    let mut profiles = document.profiles.map(|named| named.0).unwrap_or_default();
    if let Some(source) = document.inline.and_then(|inline| inline.source) {
        let role_arn = environment.get("AWS_ROLE_ARN").map(str::to_owned);
        let hop = HopDocument { role_arn, ..HopDocument::default() };
        let chain = Some(vec![Some(hop)]);
        let profile = ProfileDocument { source: Some(source), chain, ..ProfileDocument::default() };
        profiles.insert(INLINE.to_owned(), profile);
    }
    if inline_vault {
        let vault =
            VaultSourceDocument { role: Some(INLINE.to_owned()), ..VaultSourceDocument::default() };
        let source = SourceDocument { vault: Some(vault), ..SourceDocument::default() };
        let profile = ProfileDocument { source: Some(source), ..ProfileDocument::default() };
        profiles.insert(INLINE_VAULT.to_owned(), profile);
    }
    if profiles.is_empty() {
        let environment = Some(EnvironmentDocument {});
        let profile = ProfileDocument {
            source: Some(SourceDocument { environment, ..SourceDocument::default() }),
            serve_long_lived_keys: Some(true),
            ..ProfileDocument::default()
        };
        profiles.insert(INLINE.to_owned(), profile);
    }
    let profiles = Some(Named(profiles));
    Document { endpoint, admin, audit, sandbox, sts, vault, profiles, ..Document::default() }
}

fn key(step: Option<&Step>) -> Option<&str> {
    match step {
        Some(Step::Key(key)) => Some(key),
        Some(Step::Index(_)) | None => None,
    }
}

fn is_of_sidecar(place: &Place) -> bool {
    let Place::Setting(at) = place else { return false };
    match key(at.first()) {
        Some("relay") => {
            matches!(key(at.get(1)), Some("endpoint" | "admin" | "sts" | "vault"))
        }
        first => matches!(first, Some("profiles" | "inline")),
    }
}

/// From where a setting stands in the injector's file to where it stands in a sidecar's.
fn to_sidecar(place: &mut Place) {
    let Place::Setting(at) = place else { return };
    match key(at.first()) {
        Some("relay") => {
            at.remove(0);
        }
        Some("inline") => at.insert(0, Step::Key("profiles".to_owned())),
        _ => {}
    }
}

/// The way back.
pub(super) fn to_injector(place: &mut Place, env: &BTreeMap<String, String>) {
    match place {
        Place::Setting(at) if key(at.first()) != Some("profiles") => {
            at.insert(0, Step::Key("relay".to_owned()));
        }
        Place::Setting(at) => match key(at.get(1)) {
            Some(INLINE) => {
                at.remove(0);
            }
            Some(INLINE_VAULT) => {
                at.drain(..2);
                at.insert(0, Step::Key(INLINE.to_owned()));
            }
            _ => {}
        },
        Place::Variable(name) if env.contains_key(name) => {
            let way = ["sidecar", "env", name.as_str()];
            *place = Place::Setting(way.map(|key| Step::Key(key.to_owned())).into());
        }
        Place::Variable(_) | Place::File => {}
    }
}
