//! The injector's own configuration: read from a file, checked as a whole.
//!
//! [`document`] holds the types of the file, from which its JSON schema comes; this module holds what
//! the injector gets. What the sidecars are configured with is checked by the relay's own rules, in
//! the environment that a sidecar has.

mod catalogue;
mod certificates;
pub mod document;
mod names;
mod pattern;
mod quantity;
mod resolve;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::load;
use super::mistakes::Mistakes;
pub use catalogue::{Catalogue, Composed, Inline, PodNames, Wanted, short_of};
pub use certificates::{Certificates, SelfManaged};
pub use pattern::Pattern;

/// Where the relay's container finds the tokens of the service account, each in a file of its name.
pub const TOKENS: &str = "/var/run/secrets/credential-relay/tokens";

/// A whole configuration of the injector, checked.
#[derive(Clone, Debug)]
pub struct Injector {
    /// Where the API server calls, over TLS.
    pub listen: SocketAddr,
    /// Where probes and Prometheus ask.
    pub admin: SocketAddr,
    /// Where the serving certificate comes from.
    pub certificates: Certificates,
    /// The container that is injected.
    pub sidecar: Sidecar,
    /// What the sidecars are configured with.
    pub catalogue: Catalogue,
    /// Who may have what.
    pub rules: Vec<Rule>,
    /// What is right but should be known; logged at start.
    pub warnings: Vec<String>,
}

/// The container that is injected.
#[derive(Clone, Debug)]
pub struct Sidecar {
    /// Its image.
    pub image: String,
    /// What other webhooks may put before the image's path, or before its whole name.
    pub image_mirrors: Vec<String>,
    /// When the image is pulled; by default as Kubernetes decides.
    pub image_pull_policy: Option<&'static str>,
    /// Secrets with which images are pulled, beside the pod's.
    pub image_pull_secrets: Vec<String>,
    /// Who it runs as.
    pub run_as: RunAs,
    /// What it asks for, by the name of the resource.
    pub requests: BTreeMap<String, String>,
    /// What it may take, by the name of the resource.
    pub limits: BTreeMap<String, String>,
    /// For how many seconds the first credentials may be waited for.
    pub startup_failure_threshold: u64,
    /// Tokens of the pod's service account.
    pub tokens: Vec<ProjectedToken>,
    /// Further variables.
    pub env: BTreeMap<String, String>,
    /// What it sees of the pod's namespace.
    pub mounts: Vec<Mount>,
    /// Ports that a service mesh's proxy leaves alone.
    pub excluded_ports: Vec<u16>,
}

/// Who the relay runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunAs {
    /// This user and group.
    User(u64),
    /// As the pod says, or the platform.
    Pod,
}

/// A token of the pod's service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectedToken {
    /// The name of its file.
    pub name: String,
    /// Whom it is for.
    pub audience: String,
    /// How long it is good for.
    pub expiration: Duration,
}

/// Something of the pod's namespace that the relay sees as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What it is.
    pub what: Mounted,
    /// The folder.
    pub path: PathBuf,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mounted {
    /// The ConfigMap of this name.
    ConfigMap(String),
    /// The Secret of this name.
    Secret(String),
}

/// What the pods that it matches may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Their namespaces.
    pub namespaces: Vec<Pattern>,
    /// Their service accounts.
    pub service_accounts: Vec<Pattern>,
    /// Profiles by name.
    pub profiles: Vec<Pattern>,
    /// Roles of Vault's.
    pub vault_roles: Vec<Pattern>,
    /// ARNs of roles.
    pub role_arns: Vec<Pattern>,
    /// ConfigMaps that may be the whole configuration.
    pub config_maps: Vec<Pattern>,
    /// Whether the node's network may be used.
    pub host_network: bool,
    /// Whether the containers may see each other's processes, or the node's.
    pub share_process_namespace: bool,
    /// Whether they may have access tokens in their environment.
    pub inline_tokens: bool,
    /// Whether what collides may be replaced.
    pub replace: bool,
}

/// Reads and checks the file.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load(file: &Path) -> Result<Injector, Mistakes> {
    parse(&load::text_of(file)?)
}

/// Reads and checks the text of a file.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn parse(text: &str) -> Result<Injector, Mistakes> {
    let mut mistakes = Mistakes::default();
    let mut value = load::yaml(text)?;
    let document = match load::document(&mut value, &mut mistakes) {
        Ok(document) => document,
        Err(mistakes) => return Err(mistakes.in_order()),
    };
    resolve::resolve(document, &value, mistakes)
}

/// The JSON schema of the file, draft 2020-12: what [`schema_of_types`] makes, kept as text as the
/// relay's is ([`load::SCHEMA`]).
pub const SCHEMA: &str = include_str!("injector/injector.schema.json");

/// The JSON schema as the file's types have it.
pub fn schema_of_types() -> serde_json::Value {
    schemars::schema_for!(document::InjectorDocument).to_value()
}
