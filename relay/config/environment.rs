//! Environment variables: those that stand in for a file when there is one profile, and those that
//! others set and the configuration honours.
//!
//! The process's environment is read once, where the program starts, and is handed on as a value.

use std::collections::BTreeMap;

use deserr::ValuePointerRef;

use super::document::{
    AccessDocument, AdminDocument, AuthDocument, AutoDocument, ContainerDocument, Document,
    EndpointDocument, EnvironmentDocument, FileDocument, HopDocument, ImdsDocument,
    KubernetesDocument, Named, ProfileDocument, SharedProfileDocument, SourceDocument,
    VaultDocument, VaultSourceDocument, WebIdentityDocument,
};
use super::mistakes::{Mistakes, Place, Step, path, shape, unknown};

const PREFIX: &str = "CREDENTIAL_RELAY_";

const PROFILE: &str = "CREDENTIAL_RELAY_PROFILE";
const ROLE_ARN: &str = "CREDENTIAL_RELAY_ROLE_ARN";
const SESSION_NAME: &str = "CREDENTIAL_RELAY_SESSION_NAME";
const EXTERNAL_ID: &str = "CREDENTIAL_RELAY_EXTERNAL_ID";
const DURATION: &str = "CREDENTIAL_RELAY_DURATION";
const TOKEN_FILE: &str = "CREDENTIAL_RELAY_TOKEN_FILE";
const SOURCE: &str = "CREDENTIAL_RELAY_SOURCE";
const SOURCE_FILE: &str = "CREDENTIAL_RELAY_SOURCE_FILE";
const LISTEN: &str = "CREDENTIAL_RELAY_LISTEN";
const ADMIN_LISTEN: &str = "CREDENTIAL_RELAY_ADMIN_LISTEN";
const ADMIN_SOCKET: &str = "CREDENTIAL_RELAY_ADMIN_SOCKET";
const VAULT_ROLE: &str = "CREDENTIAL_RELAY_VAULT_ROLE";
const VAULT_MOUNT: &str = "CREDENTIAL_RELAY_VAULT_MOUNT";
const VAULT_AUTH_ROLE: &str = "CREDENTIAL_RELAY_VAULT_AUTH_ROLE";
const VAULT_TOKEN_FILE: &str = "CREDENTIAL_RELAY_VAULT_TOKEN_FILE";
const VAULT_TTL: &str = "CREDENTIAL_RELAY_VAULT_TTL";
/// The configuration's file.
const FILE: &str = "CREDENTIAL_RELAY_CONFIG";
/// The text of a file, for where a file would need a volume; the injector sets it.
pub(super) const TEXT: &str = "CREDENTIAL_RELAY_CONFIG_TEXT";
/// Says that the applications have ended before the relay does; a native sidecar's pod sets it.
pub(super) const NATIVE_SIDECAR: &str = "CREDENTIAL_RELAY_NATIVE_SIDECAR";

/// The variables that stand in for a file.
pub const CONFIGURATION: [&str; 16] = [
    PROFILE,
    ROLE_ARN,
    SESSION_NAME,
    EXTERNAL_ID,
    DURATION,
    TOKEN_FILE,
    SOURCE,
    SOURCE_FILE,
    LISTEN,
    ADMIN_LISTEN,
    ADMIN_SOCKET,
    VAULT_ROLE,
    VAULT_MOUNT,
    VAULT_AUTH_ROLE,
    VAULT_TOKEN_FILE,
    VAULT_TTL,
];

/// The variables that are about the process: the file's path or its text, logging, the client's
/// cache, and when it ends.
pub const PROCESS: [&str; 6] = [
    FILE,
    TEXT,
    "CREDENTIAL_RELAY_LOG",
    "CREDENTIAL_RELAY_LOG_FORMAT",
    "CREDENTIAL_RELAY_CACHE",
    NATIVE_SIDECAR,
];

/// The variables of AWS's SDKs, of Vault's clients and of the Downward API that the configuration
/// honours.
pub const HONOURED: [&str; 30] = [
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL_STS",
    "AWS_ENDPOINT_URL",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_CA_BUNDLE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
    "AWS_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "VAULT_ADDR",
    "VAULT_NAMESPACE",
    "VAULT_CACERT",
    "VAULT_CLIENT_CERT",
    "VAULT_CLIENT_KEY",
    "VAULT_TLS_SERVER_NAME",
    "VAULT_CLIENT_TIMEOUT",
    "POD_NAME",
    "POD_NAMESPACE",
    "POD_SERVICE_ACCOUNT",
];

/// The variables by which the kubelet tells a pod where the API server is.
pub const CLUSTER: [&str; 2] = ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"];

/// What gives a program other credentials than a relay's: every SDK takes these before a container
/// endpoint, or in its place. The shared files do so too.
pub const LEADING_PAST: [&str; 13] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    // What the first version of the SDK for Java and of boto read.
    "AWS_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    // Amazon Bedrock takes it before any credentials.
    "AWS_BEARER_TOKEN_BEDROCK",
];

/// Variables that hold secrets, of which the configuration asks alone whether they are set.
pub(super) const SECRETS: [&str; 3] =
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_CONTAINER_AUTHORIZATION_TOKEN"];

/// A value of NO_PROXY with the addresses at which a relay is reached: some SDKs send calls to them
/// through a proxy.
pub fn no_proxy(given: &str) -> String {
    let mut list = given.to_owned();
    for own in ["127.0.0.1", "localhost"] {
        if list.trim() == "*" || list.split(',').any(|name| name.trim() == own) {
            continue;
        }
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(own);
    }
    list
}

/// The environment, as far as the configuration asks for it; keys that stand beside are not kept.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Of this process. What is not UTF-8 is kept with U+FFFD, which no setting accepts.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .map(|(name, value)| {
                let text = |part: std::ffi::OsString| part.to_string_lossy().into_owned();
                (text(name), text(value))
            })
            .collect()
    }

    /// A variable's value; an empty one counts as unset.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        let kept = |(name, value): (String, String)| match name.as_str() {
            secret if SECRETS.contains(&secret) => {
                Some((name, if value.is_empty() { value } else { "set".to_owned() }))
            }
            asked
                if asked.starts_with(PREFIX)
                    || HONOURED.contains(&asked)
                    || CLUSTER.contains(&asked) =>
            {
                Some((name, value))
            }
            _ => None,
        };
        Self(variables.filter_map(kept).collect())
    }
}

/// Reports the variables with the relay's prefix that nothing reads, and, where there is a file,
/// those that would stand in for one.
pub(super) fn check_names(environment: &Environment, file: bool, mistakes: &mut Mistakes) {
    let ours = environment.0.iter().filter(|(name, _)| name.starts_with(PREFIX));
    for (name, value) in ours {
        let name = name.as_str();
        if CONFIGURATION.contains(&name) {
            if file {
                mistakes.add(
                    Place::variable(name),
                    "not read where there is a file: move it there, or unset it",
                );
            }
        } else if !PROCESS.contains(&name) && !is_service_link(name, value) {
            let known: Vec<&str> = CONFIGURATION.into_iter().chain(PROCESS).collect();
            mistakes.add(Place::variable(name), unknown(name, &known));
        }
    }
}

/// Whether Kubernetes sets this variable by itself: for a Service whose name starts with
/// credential-relay it sets `…_SERVICE_HOST`, `…_SERVICE_PORT`, `…_SERVICE_PORT_<NAME>`, `…_PORT`
/// and `…_PORT_<number>_TCP…` in every pod of its namespace. A `…_PORT` of its holds a URL, which
/// a number that somebody meant for a setting is not.
fn is_service_link(name: &str, value: &str) -> bool {
    let numbered = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    let url = || ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || (name.ends_with("_PORT") && url())
        || name.contains("_SERVICE_PORT_")
        || name.split("_PORT_").skip(1).any(numbered)
}

/// Which variable a setting came from.
#[derive(Debug, Default)]
pub(super) struct Origins(Vec<(Vec<Step>, &'static str)>);

impl Origins {
    fn note(&mut self, at: ValuePointerRef<'_>, variable: &'static str) {
        self.0.push((path(at), variable));
    }

    /// Names the variable in the place of the setting: of all that hold the setting, the nearest.
    pub(super) fn name(&self, place: &mut Place) {
        let Place::Setting(at) = &place else { return };
        let holders = self.0.iter().filter(|(holder, _)| at.starts_with(holder));
        if let Some((_, variable)) = holders.max_by_key(|(holder, _)| holder.len()) {
            *place = Place::variable(variable);
        }
    }
}

/// The document that the variables stand for.
///
/// # Errors
/// The variables that are missing, or that say nothing without them.
pub(super) fn document(environment: &Environment) -> Result<(Document, Origins), Mistakes> {
    check_company(environment)?;
    let text = |name| environment.get(name).map(str::to_owned);
    let name = environment.get(PROFILE).unwrap_or("default");
    let chain = chain(environment);
    let origins = origins(name, chain.len(), environment.get(SOURCE).is_some());
    let file = text(SOURCE_FILE).map(|path| FileDocument { path: Some(path) });
    let vault = text(VAULT_ROLE).map(|role| VaultSourceDocument {
        role: Some(role),
        mount: text(VAULT_MOUNT),
        ttl: text(VAULT_TTL),
        ..VaultSourceDocument::default()
    });
    let login = vault.as_ref().map(|_| VaultDocument {
        auth: Some(AuthDocument {
            kubernetes: Some(KubernetesDocument {
                role: text(VAULT_AUTH_ROLE),
                token_file: text(VAULT_TOKEN_FILE),
                ..KubernetesDocument::default()
            }),
            ..AuthDocument::default()
        }),
        ..VaultDocument::default()
    });
    let source = match (file, vault) {
        (None, None) => named_source(environment.get(SOURCE).unwrap_or("environment"))?,
        (file, vault) => SourceDocument { file, vault, ..SourceDocument::default() },
    };
    let profile = ProfileDocument {
        source: Some(source),
        chain: Some(chain.into_iter().map(Some).collect()),
        access: Some(AccessDocument { token_file: text(TOKEN_FILE), ..AccessDocument::default() }),
        ..ProfileDocument::default()
    };
    let document = Document {
        endpoint: Some(EndpointDocument { listen: text(LISTEN), ..EndpointDocument::default() }),
        admin: Some(AdminDocument { listen: text(ADMIN_LISTEN), socket: text(ADMIN_SOCKET) }),
        vault: login,
        profiles: Some(Named(BTreeMap::from([(name.to_owned(), profile)]))),
        ..Document::default()
    };
    Ok((document, origins))
}

/// The sources that need nothing beside the SDKs' own variables.
fn named_source(name: &str) -> Result<SourceDocument, Mistakes> {
    let mut source = SourceDocument::default();
    match name {
        "environment" => source.environment = Some(EnvironmentDocument {}),
        "web_identity" => source.web_identity = Some(WebIdentityDocument::default()),
        "container" => source.container = Some(ContainerDocument::default()),
        "imds" => source.imds = Some(ImdsDocument::default()),
        "profile" => source.profile = Some(SharedProfileDocument::default()),
        "auto" => source.auto = Some(AutoDocument {}),
        other => {
            let what = format!(
                "{}; environment, web_identity, container, imds, profile or auto was expected, all others need a file",
                shape(other)
            );
            let mut mistakes = Mistakes::default();
            mistakes.add(Place::variable(SOURCE), what);
            return Err(mistakes);
        }
    }
    Ok(source)
}

/// Some variables say something only beside others.
fn check_company(environment: &Environment) -> Result<(), Mistakes> {
    let there = |name: &str| environment.get(name).is_some();
    let mut mistakes = Mistakes::default();
    let base = environment.get(SOURCE).is_some_and(|name| name != "environment");
    if !there(VAULT_ROLE) && !there(ROLE_ARN) && !base {
        let why = if CONFIGURATION.into_iter().any(there) {
            "missing; without a file it is the role to assume, or several with commas between, and only \
             CREDENTIAL_RELAY_VAULT_ROLE or CREDENTIAL_RELAY_SOURCE makes it optional"
        } else {
            "there is neither a file (--config or CREDENTIAL_RELAY_CONFIG) nor this variable with the role to \
             assume, nor CREDENTIAL_RELAY_VAULT_ROLE with a role of Vault's, nor CREDENTIAL_RELAY_SOURCE with a \
             source that is a role's session by itself"
        };
        mistakes.add(Place::variable(ROLE_ARN), why);
    } else if !there(ROLE_ARN) {
        for name in [SESSION_NAME, EXTERNAL_ID, DURATION].into_iter().filter(|name| there(name)) {
            let what = "it is about a role to assume, and there is none: set CREDENTIAL_RELAY_ROLE_ARN, or unset it";
            mistakes.add(Place::variable(name), what);
        }
    }
    for other in [SOURCE_FILE, VAULT_ROLE].into_iter().filter(|name| there(name)) {
        if there(SOURCE) {
            let what = format!("{other} says another source; keep one");
            mistakes.add(Place::variable(SOURCE), what);
        }
    }
    if !there(VAULT_ROLE) {
        let others = [VAULT_MOUNT, VAULT_AUTH_ROLE, VAULT_TOKEN_FILE, VAULT_TTL];
        for name in others.into_iter().filter(|name| there(name)) {
            let what = "it is about a role of Vault's, and there is none: set CREDENTIAL_RELAY_VAULT_ROLE, or unset it";
            mistakes.add(Place::variable(name), what);
        }
    }
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
}

fn chain(environment: &Environment) -> Vec<HopDocument> {
    let text = |name| environment.get(name).map(str::to_owned);
    let roles = environment.get(ROLE_ARN).into_iter().flat_map(|roles| roles.split(','));
    let mut chain: Vec<HopDocument> = roles
        .map(|role| HopDocument {
            role_arn: Some(role.trim().to_owned()),
            session_name: text(SESSION_NAME),
            ..HopDocument::default()
        })
        .collect();
    if let Some(last) = chain.last_mut() {
        last.external_id = text(EXTERNAL_ID);
        last.duration = text(DURATION);
    }
    chain
}

fn origins(profile: &str, hops: usize, named: bool) -> Origins {
    let mut origins = Origins::default();
    let root = ValuePointerRef::Origin;
    origins.note(root.push_key("endpoint"), LISTEN);
    origins.note(root.push_key("admin").push_key("listen"), ADMIN_LISTEN);
    origins.note(root.push_key("admin").push_key("socket"), ADMIN_SOCKET);
    origins.note(root.push_key("sts").push_key("region"), "AWS_REGION");
    let vault = root.push_key("vault");
    origins.note(vault.push_key("address"), "VAULT_ADDR");
    let kubernetes = vault.push_key("auth");
    let kubernetes = kubernetes.push_key("kubernetes");
    origins.note(kubernetes.push_key("role"), VAULT_AUTH_ROLE);
    origins.note(kubernetes.push_key("token_file"), VAULT_TOKEN_FILE);
    let profiles = root.push_key("profiles");
    let profile = profiles.push_key(profile);
    origins.note(profile, PROFILE);
    let source = profile.push_key("source");
    origins.note(source, if named { SOURCE } else { SOURCE_FILE });
    let vault = source.push_key("vault");
    origins.note(vault, VAULT_ROLE);
    origins.note(vault.push_key("mount"), VAULT_MOUNT);
    origins.note(vault.push_key("ttl"), VAULT_TTL);
    origins.note(profile.push_key("access"), TOKEN_FILE);
    let chain = profile.push_key("chain");
    for number in 0..hops {
        let hop = chain.push_index(number);
        origins.note(hop, ROLE_ARN);
        origins.note(hop.push_key("session_name"), SESSION_NAME);
        origins.note(hop.push_key("external_id"), EXTERNAL_ID);
        origins.note(hop.push_key("duration"), DURATION);
    }
    origins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_sets_for_services_is_told_from_mistakes() {
        for name in [
            "CREDENTIAL_RELAY_SERVICE_HOST",
            "CREDENTIAL_RELAY_SERVICE_PORT",
            "CREDENTIAL_RELAY_SERVICE_PORT_HTTPS",
            "CREDENTIAL_RELAY_PORT",
            "CREDENTIAL_RELAY_PORT_443_TCP",
            "CREDENTIAL_RELAY_PORT_443_TCP_ADDR",
            "CREDENTIAL_RELAY_WEBHOOK_SERVICE_HOST",
            "CREDENTIAL_RELAY_WEBHOOK_PORT_9443_TCP_PROTO",
        ] {
            assert!(is_service_link(name, "tcp://10.96.0.7:443"), "{name}");
        }
        assert!(is_service_link("CREDENTIAL_RELAY_SERVICE_PORT", "443"));
        assert!(!is_service_link("CREDENTIAL_RELAY_ADMIN_PORT", "9000"));
        for name in CONFIGURATION.into_iter().chain(PROCESS).chain(["CREDENTIAL_RELAY_PORT_NAME"]) {
            assert!(!is_service_link(name, "tcp://10.96.0.7:443"), "{name}");
        }
    }

    #[test]
    fn proxies_are_not_asked_for_the_relay() {
        for (given, expected) in [
            ("", "127.0.0.1,localhost"),
            ("corp.example", "corp.example,127.0.0.1,localhost"),
            ("localhost, 10.0.0.0/8", "localhost, 10.0.0.0/8,127.0.0.1"),
            ("*", "*"),
        ] {
            assert_eq!(no_proxy(given), expected);
        }
    }

    #[test]
    fn keys_are_not_kept() {
        let environment: Environment =
            [("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_REGION", "eu-west-1")]
                .into_iter()
                .collect();
        assert!(!format!("{environment:?}").contains("secret"));
        assert_eq!(environment.get("AWS_REGION"), Some("eu-west-1"));
    }
}
