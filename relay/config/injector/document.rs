//! The types of the injector's file: what may stand where. What the values mean is checked in
//! `resolve`. The profiles and what stands beside them are the relay's own types.

mod sidecar;

use std::collections::BTreeMap;

use deserr::Deserr;
use schemars::JsonSchema;

use super::resolve;
use crate::config::document::{
    AdminDocument, AuditDocument, EndpointDocument, Named, ProfileDocument, SandboxDocument,
    SourceDocument, StsDocument, VaultDocument,
};
use crate::config::mistakes::Mistakes;
use crate::config::values;
pub use sidecar::{
    MountDocument, ProjectedTokenDocument, PullPolicyDocument, ResourcesDocument, RunAsDocument,
    SidecarDocument,
};

/// The configuration of credential-relay's injector.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields, title = "credential-relay inject")]
pub struct InjectorDocument {
    /// Where the API server calls: IP address and port, over TLS.
    #[deserr(default)]
    #[schemars(regex(pattern = values::LISTEN), extend("default" = resolve::LISTEN))]
    pub listen: Option<String>,
    /// Where probes and Prometheus ask.
    #[deserr(default)]
    pub admin: Option<InjectorAdminDocument>,
    /// Where the serving certificate comes from: exactly one of these.
    #[deserr(default)]
    #[schemars(required)]
    pub certificates: Option<CertificatesDocument>,
    /// The container that is injected.
    #[deserr(default)]
    #[schemars(required)]
    pub sidecar: Option<SidecarDocument>,
    /// What every sidecar's configuration has beside its profiles.
    #[deserr(default)]
    pub relay: Option<RelayDocument>,
    /// The short form, in which a pod's annotations say the role.
    #[deserr(default)]
    pub inline: Option<InlineDocument>,
    /// The profiles that pods may ask for by name, as in the relay's own file, without `access`
    /// and `credentials_file`: the injector says where the tokens are.
    #[deserr(default)]
    #[schemars(
        with = "Option<BTreeMap<String, ProfileDocument>>",
        extend("propertyNames" = { "pattern": values::PROFILE_NAME })
    )]
    pub profiles: Option<Named<ProfileDocument>>,
    /// Who may have what: for each container of a pod one rule that matches the pod must allow what the
    /// container gets, together with what the pod does beside it. Without a rule that matches it nothing is
    /// injected.
    #[deserr(default)]
    #[schemars(required, with = "Vec<RuleDocument>", length(min = 1))]
    pub policy: Option<Vec<Option<RuleDocument>>>,
}

/// Where probes and Prometheus ask.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct InjectorAdminDocument {
    /// IP address and port, over plain HTTP.
    #[deserr(default)]
    #[schemars(regex(pattern = values::LISTEN), extend("default" = resolve::ADMIN_LISTEN))]
    pub listen: Option<String>,
}

/// Where the serving certificate comes from: exactly one of these.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1, "maxProperties" = 1))]
pub struct CertificatesDocument {
    /// PEM files that somebody else keeps, such as cert-manager; read again when they change.
    #[deserr(default)]
    pub files: Option<FilesDocument>,
    /// An authority that the injectors keep themselves, in a Secret.
    #[deserr(default)]
    pub self_managed: Option<SelfManagedDocument>,
}

/// PEM files that somebody else keeps.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct FilesDocument {
    /// Path of the certificate, with those between it and the root.
    #[deserr(default)]
    #[schemars(required, regex(pattern = values::ABSOLUTE_PATH))]
    pub cert: Option<String>,
    /// Path of its key.
    #[deserr(default)]
    #[schemars(required, regex(pattern = values::ABSOLUTE_PATH))]
    pub key: Option<String>,
}

/// An authority that the injectors keep themselves.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct SelfManagedDocument {
    /// The namespace of the injector's Service, Secret and Lease.
    #[deserr(default)]
    #[schemars(required, regex(pattern = super::names::OBJECT_NAME))]
    pub namespace: Option<String>,
    /// The Service by whose name the API server calls the injector.
    #[deserr(default)]
    #[schemars(regex(pattern = super::names::OBJECT_NAME), extend("default" = resolve::SERVICE))]
    pub service: Option<String>,
    /// The Secret that holds the authority and the serving certificate.
    #[deserr(default)]
    #[schemars(regex(pattern = super::names::OBJECT_NAME), extend("default" = resolve::SECRET))]
    pub secret: Option<String>,
    /// The Lease by which one of the replicas is the one that renews.
    #[deserr(default)]
    #[schemars(regex(pattern = super::names::OBJECT_NAME), extend("default" = resolve::LEASE))]
    pub lease: Option<String>,
    /// The MutatingWebhookConfiguration whose caBundle is kept.
    #[deserr(default)]
    #[schemars(regex(pattern = super::names::OBJECT_NAME), extend("default" = resolve::WEBHOOK))]
    pub webhook: Option<String>,
    /// How long a serving certificate lives; the authority lives 10 times as long.
    #[deserr(default)]
    #[schemars(regex(pattern = values::DURATION), extend("default" = resolve::LIFETIME))]
    pub lifetime: Option<String>,
}

/// What every sidecar's configuration has beside its profiles, as in the relay's own file.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct RelayDocument {
    /// As in the relay's own file.
    #[deserr(default)]
    pub endpoint: Option<EndpointDocument>,
    /// As in the relay's own file.
    #[deserr(default)]
    pub admin: Option<AdminDocument>,
    /// As in the relay's own file.
    #[deserr(default)]
    pub audit: Option<AuditDocument>,
    /// As in the relay's own file.
    #[deserr(default)]
    #[schemars(extend("default" = "best-effort"))]
    pub sandbox: Option<SandboxDocument>,
    /// As in the relay's own file.
    #[deserr(default)]
    pub sts: Option<StsDocument>,
    /// As in the relay's own file.
    #[deserr(default)]
    pub vault: Option<VaultDocument>,
}

/// The short form, in which a pod's annotations say the role.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct InlineDocument {
    /// Where the base credentials come from if a pod names a role's ARN and no role of Vault's. As a
    /// profile's `source`.
    #[deserr(default)]
    #[schemars(required)]
    pub source: Option<SourceDocument>,
}

/// What the pods that it matches may have. Each item is a name or a pattern, in which * stands for
/// any characters.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct RuleDocument {
    /// The namespaces of the pods.
    #[deserr(default)]
    #[schemars(required, with = "Vec<String>", length(min = 1))]
    pub namespaces: Option<Vec<Option<String>>>,
    /// The service accounts of the pods; all, if nothing is said.
    #[deserr(default)]
    #[schemars(with = "Option<Vec<String>>", extend("default" = ["*"]))]
    pub service_accounts: Option<Vec<Option<String>>>,
    /// The profiles that they may ask for by name.
    #[deserr(default)]
    #[schemars(with = "Option<Vec<String>>")]
    pub profiles: Option<Vec<Option<String>>>,
    /// The roles of Vault's that they may name.
    #[deserr(default)]
    #[schemars(with = "Option<Vec<String>>")]
    pub vault_roles: Option<Vec<Option<String>>>,
    /// The ARNs of roles that they may name. With a role of Vault's, one rule must allow both.
    #[deserr(default)]
    #[schemars(with = "Option<Vec<String>>")]
    pub role_arns: Option<Vec<Option<String>>>,
    /// The ConfigMaps of their namespace that may be their whole configuration.
    #[deserr(default)]
    #[schemars(with = "Option<Vec<String>>")]
    pub config_maps: Option<Vec<Option<String>>>,
    /// Whether they may use the node's network, on which every process of the node reaches the
    /// relay's port.
    #[deserr(default)]
    #[schemars(extend("default" = false))]
    pub host_network: Option<bool>,
    /// Whether their containers may see each other's processes, and through them each other's access
    /// tokens; the node's too.
    #[deserr(default)]
    #[schemars(extend("default" = false))]
    pub share_process_namespace: Option<bool>,
    /// Whether their access tokens may stand in their containers' environment, where everyone who may
    /// read the pods sees them.
    #[deserr(default)]
    #[schemars(extend("default" = false))]
    pub inline_tokens: Option<bool>,
    /// Whether the annotation `conflicts: replace` may be used.
    #[deserr(default)]
    #[schemars(extend("default" = true))]
    pub replace: Option<bool>,
}
