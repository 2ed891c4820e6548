//! What may be said of the container that is injected.

use std::collections::BTreeMap;

use deserr::{
    DeserializeError, Deserr, ErrorKind, IntoValue, Value, ValueKind, ValuePointerRef,
    take_cf_content,
};
use schemars::JsonSchema;

use super::super::{names, resolve};
use crate::config::document::Named;
use crate::config::mistakes::Mistakes;
use crate::config::values;

/// The container that is injected.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct SidecarDocument {
    /// The relay's image.
    #[deserr(default)]
    #[schemars(required, regex(pattern = names::IMAGE))]
    pub image: Option<String>,
    /// Registries, with a folder or without, that other webhooks may put in the place of the image's
    /// own, or before its whole name.
    #[deserr(default)]
    #[schemars(with = "Option<Vec<String>>", inner(regex(pattern = names::MIRROR)))]
    pub image_mirrors: Option<Vec<Option<String>>>,
    /// When the image is pulled. By default as Kubernetes decides from its tag.
    #[deserr(default)]
    pub image_pull_policy: Option<PullPolicyDocument>,
    /// Secrets of the pod's namespace with which images are pulled, beside those of the pod.
    #[deserr(default)]
    #[schemars(
        with = "Option<Vec<String>>",
        inner(regex(pattern = names::OBJECT_NAME))
    )]
    pub image_pull_secrets: Option<Vec<Option<String>>>,
    /// The user that it runs as: a number, or `pod` for that of the pod, which OpenShift gives.
    #[deserr(default)]
    #[schemars(extend("default" = resolve::USER))]
    pub run_as: Option<RunAsDocument>,
    /// What it asks for, and what it may take. What is given stands in the place of all of the
    /// default.
    #[deserr(default)]
    pub resources: Option<ResourcesDocument>,
    /// For how many seconds the first credentials may be waited for, before the container is
    /// started again.
    #[deserr(default)]
    #[schemars(range(min = 10, max = 86400), extend("default" = resolve::STARTUP))]
    pub startup_failure_threshold: Option<u64>,
    /// Tokens of the pod's service account, each in a file of its name below
    /// /var/run/secrets/credential-relay/tokens of the relay's container.
    #[deserr(default)]
    #[schemars(with = "Option<Vec<ProjectedTokenDocument>>")]
    pub tokens: Option<Vec<Option<ProjectedTokenDocument>>>,
    /// Further variables of the relay's container, such as HTTPS_PROXY.
    #[deserr(default)]
    #[schemars(
        with = "Option<BTreeMap<String, String>>",
        extend("propertyNames" = { "pattern": names::VARIABLE })
    )]
    pub env: Option<Named<String>>,
    /// ConfigMaps and Secrets of the pod's namespace that the relay's container sees, such as a CA.
    #[deserr(default)]
    #[schemars(with = "Option<Vec<MountDocument>>")]
    pub mounts: Option<Vec<Option<MountDocument>>>,
    /// Ports of the relay's upstreams that a service mesh's proxy leaves alone: they are added to the
    /// annotations of Istio and Linkerd on every pod that is injected.
    #[deserr(default)]
    #[schemars(with = "Option<Vec<u16>>", inner(range(min = 1, max = 65535)))]
    pub excluded_ports: Option<Vec<Option<u64>>>,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Deserr, JsonSchema)]
#[deserr(error = Mistakes)]
pub enum PullPolicyDocument {
    /// At each start.
    Always,
    /// Where the node has it not.
    IfNotPresent,
    /// Never.
    Never,
}

/// Who the relay runs as.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub enum RunAsDocument {
    /// This user and group; 0 is nobody that the relay runs as.
    User(#[schemars(range(min = 1, max = 2_147_483_647_u64))] u64),
    /// `pod`: as the pod says, or the platform.
    Pod(#[schemars(regex(pattern = "^pod$"))] String),
}

impl Deserr<Mistakes> for RunAsDocument {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, Mistakes> {
        match value {
            Value::Integer(user) => Ok(Self::User(user)),
            Value::String(text) => Ok(Self::Pod(text)),
            actual => {
                let accepted = &[ValueKind::Integer, ValueKind::String];
                let error = ErrorKind::IncorrectValueKind { actual, accepted };
                Err(take_cf_content(Mistakes::error(None, error, at)))
            }
        }
    }
}

/// What a container asks for, and what it may take.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct ResourcesDocument {
    /// What it asks for: quantities by `cpu`, `memory` or another resource's name.
    #[deserr(default)]
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub requests: Option<Named<String>>,
    /// What it may take.
    #[deserr(default)]
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub limits: Option<Named<String>>,
}

/// A token of the pod's service account.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct ProjectedTokenDocument {
    /// The name of its file.
    #[deserr(default)]
    #[schemars(required, regex(pattern = names::LABEL))]
    pub name: Option<String>,
    /// Whom it is for, such as vault or sts.amazonaws.com.
    #[deserr(default)]
    #[schemars(required, length(min = 1))]
    pub audience: Option<String>,
    /// How long it is good for; the kubelet renews it in time.
    #[deserr(default)]
    #[schemars(regex(pattern = values::DURATION), extend("default" = resolve::TOKEN_EXPIRATION))]
    pub expiration: Option<String>,
}

/// A ConfigMap or a Secret of the pod's namespace.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(
    deny_unknown_fields,
    extend("oneOf" = [{ "required": ["config_map"] }, { "required": ["secret"] }])
)]
pub struct MountDocument {
    /// The ConfigMap's name. This or `secret`.
    #[deserr(default)]
    #[schemars(regex(pattern = names::OBJECT_NAME))]
    pub config_map: Option<String>,
    /// The Secret's name.
    #[deserr(default)]
    #[schemars(regex(pattern = names::OBJECT_NAME))]
    pub secret: Option<String>,
    /// The folder in which its keys are files.
    #[deserr(default)]
    #[schemars(required, regex(pattern = values::ABSOLUTE_PATH))]
    pub path: Option<String>,
}
