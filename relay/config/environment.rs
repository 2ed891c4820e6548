//! Environment variables: those that stand in for a file when there is one profile, and those that
//! others set and the configuration honours.
//!
//! The process's environment is read once, where the program starts, and is handed on as a value.

use std::collections::BTreeMap;

use deserr::ValuePointerRef;

use super::document::{
    AccessDocument, AdminDocument, Document, EndpointDocument, EnvironmentDocument, FileDocument,
    HopDocument, Named, ProfileDocument, SourceDocument,
};
use super::mistakes::{Mistakes, Place, Step, path, unknown};

const PREFIX: &str = "CREDENTIAL_RELAY_";

const PROFILE: &str = "CREDENTIAL_RELAY_PROFILE";
const ROLE_ARN: &str = "CREDENTIAL_RELAY_ROLE_ARN";
const SESSION_NAME: &str = "CREDENTIAL_RELAY_SESSION_NAME";
const EXTERNAL_ID: &str = "CREDENTIAL_RELAY_EXTERNAL_ID";
const DURATION: &str = "CREDENTIAL_RELAY_DURATION";
const TOKEN_FILE: &str = "CREDENTIAL_RELAY_TOKEN_FILE";
const SOURCE_FILE: &str = "CREDENTIAL_RELAY_SOURCE_FILE";
const LISTEN: &str = "CREDENTIAL_RELAY_LISTEN";
const ADMIN_LISTEN: &str = "CREDENTIAL_RELAY_ADMIN_LISTEN";
const ADMIN_SOCKET: &str = "CREDENTIAL_RELAY_ADMIN_SOCKET";

/// The variables that stand in for a file.
pub const CONFIGURATION: [&str; 10] = [
    PROFILE,
    ROLE_ARN,
    SESSION_NAME,
    EXTERNAL_ID,
    DURATION,
    TOKEN_FILE,
    SOURCE_FILE,
    LISTEN,
    ADMIN_LISTEN,
    ADMIN_SOCKET,
];

/// The variables that the process reads for itself: the file's path, logging, the client's cache.
pub const PROCESS: [&str; 4] = [
    "CREDENTIAL_RELAY_CONFIG",
    "CREDENTIAL_RELAY_LOG",
    "CREDENTIAL_RELAY_LOG_FORMAT",
    "CREDENTIAL_RELAY_CACHE",
];

/// The variables of AWS's SDKs and of the Downward API that the configuration honours.
pub const HONOURED: [&str; 11] = [
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL_STS",
    "AWS_ENDPOINT_URL",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_CA_BUNDLE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "POD_NAME",
    "POD_NAMESPACE",
    "POD_SERVICE_ACCOUNT",
];

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
        let asked_for = |(name, _): &(String, String)| {
            name.starts_with(PREFIX) || HONOURED.contains(&name.as_str())
        };
        Self(variables.filter(asked_for).collect())
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
/// The variable that is missing.
pub(super) fn document(environment: &Environment) -> Result<(Document, Origins), Mistakes> {
    let text = |name| environment.get(name).map(str::to_owned);
    let Some(roles) = environment.get(ROLE_ARN) else {
        let why = if CONFIGURATION.iter().any(|name| environment.get(name).is_some()) {
            "missing; without a file it is the role to assume, or several with commas between"
        } else {
            "there is neither a file (--config or CREDENTIAL_RELAY_CONFIG) nor this variable with the role to assume"
        };
        return Err(Mistakes::one(Place::variable(ROLE_ARN), why));
    };
    let name = environment.get(PROFILE).unwrap_or("default");
    let mut chain: Vec<HopDocument> = roles
        .split(',')
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
    let origins = origins(name, chain.len());
    let file = text(SOURCE_FILE).map(|path| FileDocument { path: Some(path) });
    let profile = ProfileDocument {
        source: Some(SourceDocument {
            environment: file.is_none().then_some(EnvironmentDocument {}),
            file,
        }),
        chain: Some(chain.into_iter().map(Some).collect()),
        access: Some(AccessDocument { token_file: text(TOKEN_FILE) }),
        ..ProfileDocument::default()
    };
    let document = Document {
        endpoint: Some(EndpointDocument { listen: text(LISTEN), ..EndpointDocument::default() }),
        admin: Some(AdminDocument { listen: text(ADMIN_LISTEN), socket: text(ADMIN_SOCKET) }),
        profiles: Some(Named(BTreeMap::from([(name.to_owned(), profile)]))),
        ..Document::default()
    };
    Ok((document, origins))
}

fn origins(profile: &str, hops: usize) -> Origins {
    let mut origins = Origins::default();
    let root = ValuePointerRef::Origin;
    origins.note(root.push_key("endpoint"), LISTEN);
    origins.note(root.push_key("admin").push_key("listen"), ADMIN_LISTEN);
    origins.note(root.push_key("admin").push_key("socket"), ADMIN_SOCKET);
    origins.note(root.push_key("sts").push_key("region"), "AWS_REGION");
    let profiles = root.push_key("profiles");
    let profile = profiles.push_key(profile);
    origins.note(profile, PROFILE);
    origins.note(profile.push_key("source"), SOURCE_FILE);
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
    fn keys_are_not_kept() {
        let environment: Environment =
            [("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_REGION", "eu-west-1")]
                .into_iter()
                .collect();
        assert!(!format!("{environment:?}").contains("secret"));
        assert_eq!(environment.get("AWS_REGION"), Some("eu-west-1"));
    }
}
