//! The file's own types: what may stand where. Deserialising reports every wrong kind and
//! unknown key at once; the JSON schema comes from the same types, and its descriptions from
//! their comments. What the values mean is checked afterwards, in `resolve`.
//!
//! Everything is optional here, and so is each item of a list: what could not be read has been
//! cut out, and what is missing is found when the whole is checked.

mod process;
mod source;
mod vault;

use std::collections::BTreeMap;

use deserr::{
    DeserializeError, Deserr, ErrorKind, IntoValue, Map, MergeWithError, Value, ValueKind,
    ValuePointerRef, take_cf_content,
};
use schemars::JsonSchema;

use super::mistakes::Mistakes;
use super::values;
pub use process::SandboxDocument;
pub use source::{
    AutoDocument, ContainerDocument, EnvironmentDocument, FileDocument, ImdsDocument,
    ProcessDocument, RolesAnywhereDocument, SharedProfileDocument, SourceDocument,
    WebIdentityDocument,
};
pub use vault::{
    AppRoleDocument, AuthDocument, AwsDocument, CertDocument, CredentialTypeDocument,
    IdentityDocument, JwtDocument, KubernetesDocument, PropagationDocument, TokenDocument,
    TokenFileDocument, UserpassDocument, VaultDocument, VaultSourceDocument, WrappedDocument,
};

/// The configuration of credential-relay.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields, title = "credential-relay")]
pub struct Document {
    /// Where applications ask.
    #[deserr(default)]
    pub endpoint: Option<EndpointDocument>,
    /// A listener that speaks as the instance metadata service does, for programs that know no
    /// other way to credentials. It has no access token, so there may be one profile alone.
    #[deserr(default)]
    pub imds_emulation: Option<ImdsEmulationDocument>,
    /// Where probes, Prometheus and the operator ask.
    #[deserr(default)]
    pub admin: Option<AdminDocument>,
    /// A record of which keys were fetched, and to whom they were handed out.
    #[deserr(default)]
    pub audit: Option<AuditDocument>,
    /// Whether the relay confines itself to the folders of its settings and to the system calls that it
    /// makes: as far as the kernel can, whole or not at all.
    #[deserr(default)]
    #[schemars(extend("default" = "best-effort"))]
    pub sandbox: Option<SandboxDocument>,
    /// Which STS every hop asks, unless it says otherwise.
    #[deserr(default)]
    pub sts: Option<StsDocument>,
    /// Vault, for every profile whose source it is.
    #[deserr(default)]
    pub vault: Option<VaultDocument>,
    /// The identities that are served, by name: 1 to 63 of a-z 0-9 - _.
    #[deserr(default)]
    #[schemars(
        required,
        with = "BTreeMap<String, ProfileDocument>",
        extend("minProperties" = 1, "propertyNames" = { "pattern": values::PROFILE_NAME })
    )]
    pub profiles: Option<Named<ProfileDocument>>,
}

/// Where applications ask.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct EndpointDocument {
    /// IP address and port. Loopback or link-local, unless `allow_remote` is true.
    #[deserr(default)]
    #[schemars(regex(pattern = values::LISTEN), extend("default" = super::resolve::ENDPOINT_LISTEN))]
    pub listen: Option<String>,
    /// Whether `listen` may be an address that other machines can reach.
    #[deserr(default)]
    #[schemars(extend("default" = false))]
    pub allow_remote: Option<bool>,
    /// Names that a request's Host may have beside 127.0.0.1, localhost, ::1 and the address of
    /// `listen`; without a port.
    #[deserr(default)]
    #[schemars(with = "Option<Vec<String>>", inner(length(min = 1, max = 253)))]
    pub hosts: Option<Vec<Option<String>>>,
    /// Connections at one time; beyond it the one that has been idle longest is closed.
    #[deserr(default)]
    #[schemars(range(min = 16, max = 65535), extend("default" = super::resolve::MAX_CONNECTIONS))]
    pub max_connections: Option<u64>,
}

/// A listener that speaks as the instance metadata service does.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct ImdsEmulationDocument {
    /// IP address and port: loopback or link-local.
    #[deserr(default)]
    #[schemars(required, regex(pattern = values::LISTEN))]
    pub listen: Option<String>,
    /// Whether the protocol's first version is spoken too, which asks for no session token: a
    /// browser or a proxy that can be made to send a GET gets the credentials.
    #[deserr(default)]
    #[schemars(extend("default" = false))]
    pub v1: Option<bool>,
}

/// Where probes, Prometheus and the operator ask.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct AdminDocument {
    /// IP address and port for probes and metrics; never serves a credential.
    #[deserr(default)]
    #[schemars(regex(pattern = values::LISTEN), extend("default" = super::resolve::ADMIN_LISTEN))]
    pub listen: Option<String>,
    /// Path of the Unix socket (0600) for status and rotate.
    #[deserr(default)]
    #[schemars(
        regex(pattern = values::ABSOLUTE_PATH),
        length(max = 97),
        extend("default" = super::resolve::ADMIN_SOCKET)
    )]
    pub socket: Option<String>,
}

/// A record of which keys were fetched, and to whom they were handed out.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct AuditDocument {
    /// `stdout`, or the path of a file that lines of JSON are appended to.
    #[deserr(default)]
    #[schemars(required, regex(pattern = values::AUDIT))]
    pub to: Option<String>,
}

/// Which STS every hop asks, unless it says otherwise.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct StsDocument {
    /// The region, such as eu-west-1. Else AWS_REGION, else AWS_DEFAULT_REGION; needed as soon
    /// as there is a hop.
    #[deserr(default)]
    #[schemars(regex(pattern = values::REGION))]
    pub region: Option<String>,
    /// A URL in the place of the region's own endpoint. Else AWS_ENDPOINT_URL_STS, else
    /// AWS_ENDPOINT_URL. http only to loopback and link-local addresses, unless
    /// `allow_insecure` is true.
    #[deserr(default)]
    #[schemars(regex(pattern = values::URL))]
    pub endpoint: Option<String>,
    /// Whether an endpoint may be plain http on another machine, on which anybody between can
    /// read the credentials; for tests with an emulator.
    #[deserr(default)]
    #[schemars(extend("default" = false))]
    pub allow_insecure: Option<bool>,
    /// The FIPS endpoint. Else AWS_USE_FIPS_ENDPOINT, else false.
    #[deserr(default)]
    pub fips: Option<bool>,
    /// The dual-stack endpoint. Else AWS_USE_DUALSTACK_ENDPOINT, else false.
    #[deserr(default)]
    pub dual_stack: Option<bool>,
    /// Path of a PEM file with the roots to trust in the place of the system's. Else
    /// AWS_CA_BUNDLE.
    #[deserr(default)]
    #[schemars(regex(pattern = values::ABSOLUTE_PATH))]
    pub ca_cert: Option<String>,
}

/// One named identity: where it comes from, and who may ask for it.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct ProfileDocument {
    /// Where its base credentials come from: exactly one of these.
    #[deserr(default)]
    #[schemars(required)]
    pub source: Option<SourceDocument>,
    /// Whether long-lived keys may be served as they are. Needed where there is no chain: keys
    /// without a session token or an expiry break several SDKs.
    #[deserr(default)]
    #[schemars(extend("default" = false))]
    pub serve_long_lived_keys: Option<bool>,
    /// Exchanges the long-lived keys of a user for a session, which every SDK takes.
    #[deserr(default)]
    pub get_session_token: Option<GetSessionTokenDocument>,
    /// The roles to assume from the base on, in order.
    #[deserr(default)]
    #[schemars(with = "Option<Vec<HopDocument>>")]
    pub chain: Option<Vec<Option<HopDocument>>>,
    /// Who may ask for it.
    #[deserr(default)]
    pub access: Option<AccessDocument>,
    /// A credentials file of the SDKs' own form, kept up to date, for programs that cannot ask an
    /// endpoint.
    #[deserr(default)]
    pub credentials_file: Option<CredentialsFileDocument>,
}

/// One AssumeRole.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct HopDocument {
    /// The role's ARN.
    #[deserr(default)]
    #[schemars(required, regex(pattern = values::ROLE_ARN))]
    pub role_arn: Option<String>,
    /// The session's name, a template; cut to 64 characters. By default the namespace, the pod
    /// and the profile, as far as they are known.
    #[deserr(default)]
    #[schemars(length(min = 1), regex(pattern = values::SESSION_NAME_TEMPLATE))]
    pub session_name: Option<String>,
    /// The external id that the role's trust policy wants.
    #[deserr(default)]
    #[schemars(length(min = 2, max = 1224), regex(pattern = values::EXTERNAL_ID))]
    pub external_id: Option<String>,
    /// How long the credentials shall live, such as 1h, 45m or 1h30m: 15 minutes to 12 hours.
    /// At most 1 hour from the second hop on, and on a Vault role declared assumed_role, since STS
    /// grants no more to a role session.
    #[deserr(default)]
    #[schemars(regex(pattern = values::DURATION), extend("default" = "1h"))]
    pub duration: Option<String>,
    /// Session tags, 50 at most; values are templates.
    #[deserr(default)]
    #[schemars(
        with = "Option<BTreeMap<String, String>>",
        extend("maxProperties" = 50, "propertyNames" = { "minLength": 1, "maxLength": 128 })
    )]
    pub tags: Option<Named<String>>,
    /// The tags of this hop that stay with the sessions assumed from it.
    #[deserr(default)]
    #[schemars(with = "Option<Vec<String>>")]
    pub transitive_tags: Option<Vec<Option<String>>>,
    /// The source identity, a template: 2 to 64 characters. It stays through the chain, so only
    /// one value is possible in it.
    #[deserr(default)]
    #[schemars(length(min = 2), regex(pattern = values::SESSION_NAME_TEMPLATE))]
    pub source_identity: Option<String>,
    /// A session policy, as JSON text or as a mapping; 2,048 characters of JSON at most.
    #[deserr(default)]
    pub policy: Option<PolicyValue>,
    /// ARNs of managed session policies, 10 at most.
    #[deserr(default)]
    #[schemars(
        with = "Option<Vec<String>>",
        length(max = 10),
        inner(regex(pattern = values::POLICY_ARN))
    )]
    pub policy_arns: Option<Vec<Option<String>>>,
    /// In the place of sts.region.
    #[deserr(default)]
    #[schemars(regex(pattern = values::REGION))]
    pub region: Option<String>,
    /// In the place of sts.endpoint.
    #[deserr(default)]
    #[schemars(regex(pattern = values::URL))]
    pub endpoint: Option<String>,
    /// In the place of sts.fips.
    #[deserr(default)]
    pub fips: Option<bool>,
    /// In the place of sts.dual_stack.
    #[deserr(default)]
    pub dual_stack: Option<bool>,
    /// In the place of sts.ca_cert.
    #[deserr(default)]
    #[schemars(regex(pattern = values::ABSOLUTE_PATH))]
    pub ca_cert: Option<String>,
}

/// GetSessionToken, which gives a session for the keys of a user.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct GetSessionTokenDocument {
    /// How long the session shall live: 15 minutes to 36 hours.
    #[deserr(default)]
    #[schemars(regex(pattern = values::DURATION), extend("default" = "12h"))]
    pub duration: Option<String>,
    /// In the place of sts.region.
    #[deserr(default)]
    #[schemars(regex(pattern = values::REGION))]
    pub region: Option<String>,
    /// In the place of sts.endpoint.
    #[deserr(default)]
    #[schemars(regex(pattern = values::URL))]
    pub endpoint: Option<String>,
    /// In the place of sts.fips.
    #[deserr(default)]
    pub fips: Option<bool>,
    /// In the place of sts.dual_stack.
    #[deserr(default)]
    pub dual_stack: Option<bool>,
    /// In the place of sts.ca_cert.
    #[deserr(default)]
    #[schemars(regex(pattern = values::ABSOLUTE_PATH))]
    pub ca_cert: Option<String>,
}

/// Who may ask for a profile.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct AccessDocument {
    /// Path of the file with the access token; the relay writes it if it is not there. By
    /// default `/run/credential-relay/<profile>/token`.
    #[deserr(default)]
    #[schemars(regex(pattern = values::ABSOLUTE_PATH))]
    pub token_file: Option<String>,
    /// Paths of more such files, each with a token of its own: one for each further container that
    /// may ask for the profile.
    #[deserr(default)]
    #[schemars(with = "Option<Vec<String>>", inner(regex(pattern = values::ABSOLUTE_PATH)))]
    pub more_token_files: Option<Vec<Option<String>>>,
    /// Digests of further tokens, for applications that cannot read a file: `sha256:` and the SHA-256
    /// of the token.
    #[deserr(default)]
    #[schemars(with = "Option<Vec<String>>", inner(regex(pattern = values::TOKEN_DIGEST)))]
    pub token_digests: Option<Vec<Option<String>>>,
}

/// A credentials file of the SDKs' own form, kept up to date.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct CredentialsFileDocument {
    /// Its path. The relay writes it (0600) and removes it; what is there and was not written by a
    /// relay is left as it is.
    #[deserr(default)]
    #[schemars(required, regex(pattern = values::ABSOLUTE_PATH))]
    pub path: Option<String>,
    /// The name of the profile in it, by which the programs ask for it.
    #[deserr(default)]
    #[schemars(length(min = 1, max = 256), extend("default" = super::resolve::SECTION))]
    pub section: Option<String>,
}

/// A session policy.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub enum PolicyValue {
    /// As JSON text.
    Text(#[schemars(length(max = 2048))] String),
    /// As a mapping.
    Mapping(serde_json::Map<String, serde_json::Value>),
}

impl Deserr<Mistakes> for PolicyValue {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, Mistakes> {
        match value {
            Value::String(text) => Ok(Self::Text(text)),
            Value::Map(map) => Ok(Self::Mapping(
                map.into_iter().map(|(key, value)| (key, value.into_value().into())).collect(),
            )),
            actual => {
                let accepted = &[ValueKind::Map, ValueKind::String];
                let error = ErrorKind::IncorrectValueKind { actual, accepted };
                Err(take_cf_content(Mistakes::error(None, error, at)))
            }
        }
    }
}

/// A mapping whose keys are names. deserr's own impl for maps drops the mistakes of their values
/// (0.6.4).
#[derive(Debug)]
pub struct Named<T>(pub BTreeMap<String, T>);

impl<T: Deserr<Mistakes>> Deserr<Mistakes> for Named<T> {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, Mistakes> {
        let Value::Map(map) = value else {
            let error =
                ErrorKind::IncorrectValueKind { actual: value, accepted: &[ValueKind::Map] };
            return Err(take_cf_content(Mistakes::error(None, error, at)));
        };
        let mut named = BTreeMap::new();
        let mut mistakes = None;
        for (name, value) in map.into_iter() {
            match T::deserialize_from_value(value.into_value(), at.push_key(&name)) {
                Ok(value) => {
                    named.insert(name, value);
                }
                Err(more) => mistakes = Some(take_cf_content(Mistakes::merge(mistakes, more, at))),
            }
        }
        mistakes.map_or(Ok(Self(named)), Err)
    }
}
