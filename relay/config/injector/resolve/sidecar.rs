//! The container that is injected: what its settings say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use deserr::ValuePointerRef;

use super::ROOT;
use crate::config::document::Named;
use crate::config::environment;
use crate::config::injector::document::{
    MountDocument, ProjectedTokenDocument, PullPolicyDocument, ResourcesDocument, RunAsDocument,
    SidecarDocument,
};
use crate::config::injector::quantity::{Quantity, check_resource};
use crate::config::injector::{Mount, Mounted, ProjectedToken, RunAs, Sidecar, names};
use crate::config::mistakes::{Mistakes, shape};
use crate::config::values;

/// The image's own user.
pub(in crate::config::injector) const USER: u64 = 65_532;
/// A slow Vault, and the minute or so until AWS knows new keys, with much to spare.
pub(in crate::config::injector) const STARTUP: u64 = 300;
pub(in crate::config::injector) const TOKEN_EXPIRATION: &str = "1h";

/// What Kubernetes grants (the TokenRequest API's reference), and a day.
const TOKEN_EXPIRATIONS: (Duration, Duration) =
    (Duration::from_secs(600), Duration::from_secs(24 * 3600));

/// Where the injector mounts what is its own, and where the image has the program.
const OWN_FOLDERS: [&str; 4] = [
    "/run/credential-relay",
    "/var/run/secrets",
    "/etc/credential-relay/config",
    "/credential-relay",
];

/// What the injector sets itself.
const OWN_VARIABLES: [&str; 6] = [
    "POD_NAME",
    "POD_NAMESPACE",
    "POD_SERVICE_ACCOUNT",
    "CREDENTIAL_RELAY_NATIVE_SIDECAR",
    "CREDENTIAL_RELAY_CONFIG",
    "CREDENTIAL_RELAY_CONFIG_TEXT",
];

/// What the relay reads beside `environment::SECRETS`, and is as secret.
const MORE_SECRETS: [&str; 2] = ["AWS_SESSION_TOKEN", "VAULT_TOKEN"];

/// What an idle relay with a few profiles takes, and room for a start and for its probes
/// (docs/performance.md); a quota that wants limits finds them.
const REQUESTS: [(&str, &str); 2] = [("cpu", "5m"), ("memory", "16Mi")];
const LIMITS: [(&str, &str); 2] = [("cpu", "500m"), ("memory", "32Mi")];

/// None where something is wrong.
pub(super) fn sidecar(
    given: Option<&SidecarDocument>,
    env: &BTreeMap<String, String>,
    mistakes: &mut Mistakes,
) -> Option<Sidecar> {
    let at = ROOT.push_key("sidecar");
    let nothing = SidecarDocument::default();
    let given = given.unwrap_or(&nothing);
    let what = "the relay's image, such as registry.example/credential-relay:1.2.3";
    let image = mistakes.needed(given.image.as_deref(), at.push_key("image"), what, names::image);
    let mirrors_at = at.push_key("image_mirrors");
    let image_mirrors = texts(given.image_mirrors.as_ref(), mirrors_at, names::mirror, mistakes);
    let secrets_at = at.push_key("image_pull_secrets");
    let secrets = texts(given.image_pull_secrets.as_ref(), secrets_at, names::object, mistakes);
    let run_as = run_as(given.run_as.as_ref(), at.push_key("run_as"), mistakes);
    let (requests, limits) =
        resources(given.resources.as_ref(), at.push_key("resources"), mistakes);
    let startup = given.startup_failure_threshold.unwrap_or(STARTUP);
    if !(10..=86_400).contains(&startup) {
        let what = format!("the number {startup}; 10 to 86400 seconds can be waited for");
        mistakes.add(at.push_key("startup_failure_threshold"), what);
    }
    let tokens = tokens(given.tokens.as_ref(), at.push_key("tokens"), mistakes);
    let mounts = mounts(given.mounts.as_ref(), at.push_key("mounts"), mistakes);
    let excluded_ports =
        ports(given.excluded_ports.as_ref(), at.push_key("excluded_ports"), mistakes);
    Some(Sidecar {
        image: image?,
        image_mirrors,
        image_pull_policy: given.image_pull_policy.map(|policy| match policy {
            PullPolicyDocument::Always => "Always",
            PullPolicyDocument::IfNotPresent => "IfNotPresent",
            PullPolicyDocument::Never => "Never",
        }),
        image_pull_secrets: secrets,
        run_as: run_as?,
        requests,
        limits,
        startup_failure_threshold: startup,
        tokens,
        env: env.clone(),
        mounts,
        excluded_ports,
    })
}

/// A list of names.
fn texts(
    given: Option<&Vec<Option<String>>>,
    at: ValuePointerRef<'_>,
    read: fn(&str) -> Result<String, String>,
    mistakes: &mut Mistakes,
) -> Vec<String> {
    let items = mistakes.items(given, at).into_iter();
    items.filter_map(|(number, text)| mistakes.read(text, at.push_index(number), read)).collect()
}

fn run_as(
    given: Option<&RunAsDocument>,
    at: ValuePointerRef<'_>,
    mistakes: &mut Mistakes,
) -> Option<RunAs> {
    match given {
        None => Some(RunAs::User(USER)),
        Some(RunAsDocument::User(user)) if (1..=2_147_483_647).contains(user) => {
            Some(RunAs::User(*user))
        }
        Some(RunAsDocument::User(user)) => {
            let what = format!(
                "the number {user}; a user from 1 to 2147483647, or pod. The relay does not run as root"
            );
            mistakes.add(at, what);
            None
        }
        Some(RunAsDocument::Pod(text)) if text == "pod" => Some(RunAs::Pod),
        Some(RunAsDocument::Pod(text)) => {
            let what =
                format!("{}; the number of a user without quotes, or pod, is wanted", shape(text));
            mistakes.add(at, what);
            None
        }
    }
}

fn resources(
    given: Option<&ResourcesDocument>,
    at: ValuePointerRef<'_>,
    mistakes: &mut Mistakes,
) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let default = |list: [(&str, &str); 2]| {
        list.into_iter().map(|(name, quantity)| (name.to_owned(), quantity.to_owned())).collect()
    };
    let Some(given) = given else { return (default(REQUESTS), default(LIMITS)) };
    let mut read = |list: &Option<Named<String>>, key| -> BTreeMap<String, Quantity> {
        let at = at.push_key(key);
        let list = list.iter().flat_map(|named| &named.0);
        list.filter_map(|(name, quantity)| {
            let at = at.push_key(name);
            if let Err(what) = check_resource(name) {
                mistakes.add(at, what);
                return None;
            }
            let quantity = mistakes.read(quantity, at, |text| Quantity::of(name, text))?;
            Some((name.clone(), quantity))
        })
        .collect()
    };
    let requests = read(&given.requests, "requests");
    let limits = read(&given.limits, "limits");
    for (name, request) in &requests {
        if limits.get(name).is_some_and(|limit| request.exceeds(limit)) {
            let what =
                "more than its limit; Kubernetes refuses a pod that asks for more than it may take";
            mistakes.add(at.push_key("requests").push_key(name), what);
        }
    }
    let texts = |list: BTreeMap<String, Quantity>| {
        list.into_iter().map(|(name, quantity)| (name, quantity.into_text())).collect()
    };
    (texts(requests), texts(limits))
}

fn tokens(
    given: Option<&Vec<Option<ProjectedTokenDocument>>>,
    at: ValuePointerRef<'_>,
    mistakes: &mut Mistakes,
) -> Vec<ProjectedToken> {
    let mut tokens: Vec<ProjectedToken> = Vec::new();
    for (number, given) in mistakes.items(given, at) {
        let at = at.push_index(number);
        let what = "the name of the token's file, such as vault";
        let name = mistakes.needed(given.name.as_deref(), at.push_key("name"), what, names::label);
        let what = "whom the token is for, such as vault";
        let audience =
            mistakes.needed(given.audience.as_deref(), at.push_key("audience"), what, |text| {
                match text.is_empty() {
                    true => Err("an audience is wanted"),
                    false => Ok(text.to_owned()),
                }
            });
        let expiration = given.expiration.as_deref().unwrap_or(TOKEN_EXPIRATION);
        let expiration = mistakes.read(expiration, at.push_key("expiration"), |text| {
            let (least, most) = TOKEN_EXPIRATIONS;
            values::duration_within(text, least..=most, "Kubernetes grants")
        });
        let (Some(name), Some(audience), Some(expiration)) = (name, audience, expiration) else {
            continue;
        };
        if tokens.iter().any(|token| token.name == name) {
            mistakes.add(at.push_key("name"), "another token has this name; each needs its own");
        }
        tokens.push(ProjectedToken { name, audience, expiration });
    }
    tokens
}

/// The further variables of the relay's container.
pub(super) fn env(
    given: Option<&SidecarDocument>,
    mistakes: &mut Mistakes,
) -> BTreeMap<String, String> {
    let sidecar = ROOT.push_key("sidecar");
    let at = sidecar.push_key("env");
    let given = given.and_then(|given| given.env.as_ref());
    let mut env = BTreeMap::new();
    for (name, value) in given.iter().flat_map(|named| &named.0) {
        let at = at.push_key(name);
        if OWN_VARIABLES.contains(&name.as_str()) {
            mistakes.add(at, "the injector sets this variable itself; remove it");
        }
        if environment::SECRETS.contains(&name.as_str()) || MORE_SECRETS.contains(&name.as_str()) {
            let what = "whoever may read a pod reads its variables, so no secret stands here: write a source that \
                        needs none, or mount a Secret with sidecar.mounts and name its file";
            mistakes.add(at, what);
        }
        if let Some(name) = mistakes.read(name, at, names::variable) {
            env.insert(name, value.clone());
        }
    }
    env
}

fn mounts(
    given: Option<&Vec<Option<MountDocument>>>,
    at: ValuePointerRef<'_>,
    mistakes: &mut Mistakes,
) -> Vec<Mount> {
    let mut paths = BTreeSet::new();
    let mut mounts = Vec::new();
    for (number, given) in mistakes.items(given, at) {
        let at = at.push_index(number);
        let there =
            [("config_map", given.config_map.is_some()), ("secret", given.secret.is_some())];
        let choice = "write config_map or secret, with its name";
        let one = mistakes.one_of(&there, at, choice);
        let mut name = |text: &Option<String>, key| {
            let text = text.as_deref()?;
            mistakes.read(text, at.push_key(key), names::object)
        };
        let config_map = name(&given.config_map, "config_map").map(Mounted::ConfigMap);
        let secret = name(&given.secret, "secret").map(Mounted::Secret);
        let what = "the folder in which its keys are files";
        let path_at = at.push_key("path");
        let path = mistakes.needed(given.path.as_deref(), path_at, what, folder);
        if let Some(path) = path.clone().filter(|path| !paths.insert(path.clone())) {
            let what = format!("{} is another mount's already", path.display());
            mistakes.add(path_at, what);
        }
        if let (Some(()), Some(what), Some(path)) = (one, config_map.or(secret), path) {
            mounts.push(Mount { what, path });
        }
    }
    mounts
}

fn folder(text: &str) -> Result<PathBuf, String> {
    let path = values::absolute_path(text)?;
    if text.contains(':') {
        return Err("Kubernetes mounts nothing at a path with a colon".to_owned());
    }
    let own = OWN_FOLDERS.map(std::path::Path::new);
    let own = own.iter().any(|own| path.starts_with(own) || own.starts_with(&path));
    if own || path.components().any(|part| part == std::path::Component::ParentDir) {
        return Err(format!(
            "a folder apart from {} is wanted, such as /etc/credential-relay/ca",
            OWN_FOLDERS.join(", ")
        ));
    }
    Ok(path)
}

fn ports(
    given: Option<&Vec<Option<u64>>>,
    at: ValuePointerRef<'_>,
    mistakes: &mut Mistakes,
) -> Vec<u16> {
    let mut ports = Vec::new();
    for (number, port) in mistakes.items(given, at) {
        match u16::try_from(*port) {
            Ok(port) if port > 0 => ports.push(port),
            _ => mistakes.add(at.push_index(number), "a port is 1 to 65535"),
        }
    }
    ports.sort_unstable();
    ports.dedup();
    ports
}
