//! What may stand where Vault is concerned.

use deserr::Deserr;
use schemars::JsonSchema;

use super::{
    ContainerDocument, EnvironmentDocument, FileDocument, ImdsDocument, WebIdentityDocument,
};
use crate::config::mistakes::Mistakes;
use crate::config::resolve;
use crate::config::values;
use crate::config::vault::CredentialType;

/// Vault, for every profile whose source it is.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct VaultDocument {
    /// Its URL, without /v1. Else VAULT_ADDR; needed as soon as a profile's source is a Vault.
    /// http only to loopback and link-local addresses, unless `allow_insecure` is true.
    #[deserr(default)]
    #[schemars(regex(pattern = values::URL))]
    pub address: Option<String>,
    /// The namespace of the secrets; `root` is the root namespace. Else VAULT_NAMESPACE, else
    /// root.
    #[deserr(default)]
    #[schemars(regex(pattern = values::VAULT_NAMESPACE))]
    pub namespace: Option<String>,
    /// Path of a PEM file with the roots to trust in the place of the system's. Else VAULT_CACERT.
    #[deserr(default)]
    #[schemars(regex(pattern = values::ABSOLUTE_PATH))]
    pub ca_cert: Option<String>,
    /// Path of a PEM file with the client certificate, read again when it changes. Else
    /// VAULT_CLIENT_CERT. Needs `client_key`.
    #[deserr(default)]
    #[schemars(regex(pattern = values::ABSOLUTE_PATH))]
    pub client_cert: Option<String>,
    /// Path of a PEM file with the key of the client certificate. Else VAULT_CLIENT_KEY.
    #[deserr(default)]
    #[schemars(regex(pattern = values::ABSOLUTE_PATH))]
    pub client_key: Option<String>,
    /// The name that the certificate must have, in the place of the address's host. Else
    /// VAULT_TLS_SERVER_NAME.
    #[deserr(default)]
    #[schemars(length(min = 1, max = 253))]
    pub tls_server_name: Option<String>,
    /// How long one HTTP exchange may take, 1s to 60s. Else VAULT_CLIENT_TIMEOUT.
    #[deserr(default)]
    #[schemars(regex(pattern = values::DURATION), extend("default" = resolve::VAULT_TIMEOUT))]
    pub timeout: Option<String>,
    /// Whether the address may be plain http on another machine, on which anybody between can
    /// read tokens and credentials; for tests.
    #[deserr(default)]
    #[schemars(extend("default" = false))]
    pub allow_insecure: Option<bool>,
    /// Hosts to which a standby's redirect may lead, beside the address's own; the token goes
    /// there too. Without a port.
    #[deserr(default)]
    #[schemars(with = "Option<Vec<String>>", inner(length(min = 1, max = 253)))]
    pub redirect_hosts: Option<Vec<Option<String>>>,
    /// How new keys of a user are tried out before they are served.
    #[deserr(default)]
    pub propagation: Option<PropagationDocument>,
    /// Whether leases and tokens are revoked when the relay ends. By default exactly where
    /// CREDENTIAL_RELAY_NATIVE_SIDECAR is true: there the applications have ended before it.
    #[deserr(default)]
    pub revoke_on_shutdown: Option<bool>,
    /// How to log in.
    #[deserr(default)]
    pub auth: Option<AuthDocument>,
}

/// How new keys of a user are tried out before they are served: IAM takes seconds to know them
/// everywhere.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct PropagationDocument {
    /// How often GetCallerIdentity must succeed in a row; 0 turns the check off.
    #[deserr(default)]
    #[schemars(range(max = 20), extend("default" = resolve::PROPAGATION_SUCCESSES))]
    pub successes: Option<u64>,
    /// How long to wait after the last success, 0s to 5m.
    #[deserr(default)]
    #[schemars(regex(pattern = values::DURATION), extend("default" = resolve::PROPAGATION_SETTLE))]
    pub settle: Option<String>,
}

/// How to log in to Vault: exactly one method. Every file is read at each login, and trimmed.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(
    deny_unknown_fields,
    extend("oneOf" = [
        { "required": ["kubernetes"] }, { "required": ["approle"] }, { "required": ["jwt"] },
        { "required": ["aws"] }, { "required": ["cert"] }, { "required": ["userpass"] },
        { "required": ["token_file"] }, { "required": ["token"] },
    ])
)]
pub struct AuthDocument {
    /// The namespace of the login. By default that of the secrets.
    #[deserr(default)]
    #[schemars(regex(pattern = values::VAULT_NAMESPACE))]
    pub namespace: Option<String>,
    /// With a Kubernetes service account.
    #[deserr(default)]
    pub kubernetes: Option<KubernetesDocument>,
    /// With a role id and a secret id.
    #[deserr(default)]
    pub approle: Option<AppRoleDocument>,
    /// With a JWT of any issuer that Vault trusts.
    #[deserr(default)]
    pub jwt: Option<JwtDocument>,
    /// With AWS's own identity: a signed GetCallerIdentity.
    #[deserr(default)]
    pub aws: Option<AwsDocument>,
    /// With the client certificate.
    #[deserr(default)]
    pub cert: Option<CertDocument>,
    /// With a user and a password.
    #[deserr(default)]
    pub userpass: Option<UserpassDocument>,
    /// With a token that somebody else keeps in a file, such as a Vault Agent's sink.
    #[deserr(default)]
    pub token_file: Option<TokenFileDocument>,
    /// With VAULT_TOKEN of the relay's own environment, for development. Write `token: {}`.
    #[deserr(default)]
    pub token: Option<TokenDocument>,
}

/// A Kubernetes service account.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct KubernetesDocument {
    /// Where the method is mounted.
    #[deserr(default)]
    #[schemars(regex(pattern = values::VAULT_PATH), extend("default" = "kubernetes"))]
    pub mount: Option<String>,
    /// The role there.
    #[deserr(default)]
    #[schemars(required, regex(pattern = values::VAULT_NAME))]
    pub role: Option<String>,
    /// Path of the service account's token.
    #[deserr(default)]
    #[schemars(
        regex(pattern = values::ABSOLUTE_PATH),
        extend("default" = resolve::SERVICE_ACCOUNT_TOKEN)
    )]
    pub token_file: Option<String>,
}

/// A role id and a secret id.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(
    deny_unknown_fields,
    extend("oneOf" = [{ "required": ["role_id"] }, { "required": ["role_id_file"] }])
)]
pub struct AppRoleDocument {
    /// Where the method is mounted.
    #[deserr(default)]
    #[schemars(regex(pattern = values::VAULT_PATH), extend("default" = "approle"))]
    pub mount: Option<String>,
    /// The role id, which is no secret. This or `role_id_file`.
    #[deserr(default)]
    #[schemars(length(min = 1, max = 512))]
    pub role_id: Option<String>,
    /// Path of a file with the role id.
    #[deserr(default)]
    #[schemars(regex(pattern = values::ABSOLUTE_PATH))]
    pub role_id_file: Option<String>,
    /// Path of a file with the secret id. Without it and `wrapped_secret_id` none is sent: the
    /// role is bound otherwise.
    #[deserr(default)]
    #[schemars(regex(pattern = values::ABSOLUTE_PATH))]
    pub secret_id_file: Option<String>,
    /// A secret id in a response-wrapping token.
    #[deserr(default)]
    pub wrapped_secret_id: Option<WrappedDocument>,
}

/// A secret id in a response-wrapping token, good for one unwrapping.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct WrappedDocument {
    /// Path of the file with the wrapping token.
    #[deserr(default)]
    #[schemars(required, regex(pattern = values::ABSOLUTE_PATH))]
    pub file: Option<String>,
    /// Where the wrapping token must have been made, such as
    /// auth/approle/role/payments/secret-id. One from elsewhere is refused.
    #[deserr(default)]
    #[schemars(required, regex(pattern = values::VAULT_PATH))]
    pub creation_path: Option<String>,
}

/// A JWT of any issuer that Vault trusts.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct JwtDocument {
    /// Where the method is mounted.
    #[deserr(default)]
    #[schemars(regex(pattern = values::VAULT_PATH), extend("default" = "jwt"))]
    pub mount: Option<String>,
    /// The role there.
    #[deserr(default)]
    #[schemars(required, regex(pattern = values::VAULT_NAME))]
    pub role: Option<String>,
    /// Path of the file with the JWT.
    #[deserr(default)]
    #[schemars(required, regex(pattern = values::ABSOLUTE_PATH))]
    pub token_file: Option<String>,
}

/// AWS's own identity: a signed GetCallerIdentity.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct AwsDocument {
    /// Where the method is mounted.
    #[deserr(default)]
    #[schemars(regex(pattern = values::VAULT_PATH), extend("default" = "aws"))]
    pub mount: Option<String>,
    /// The role there.
    #[deserr(default)]
    #[schemars(required, regex(pattern = values::VAULT_NAME))]
    pub role: Option<String>,
    /// What the header X-Vault-AWS-IAM-Server-ID must say, where the method demands it.
    #[deserr(default)]
    #[schemars(length(min = 1, max = 253))]
    pub server_id: Option<String>,
    /// The region whose STS Vault asks. By default sts.region.
    #[deserr(default)]
    #[schemars(regex(pattern = values::REGION))]
    pub region: Option<String>,
    /// The URL of the STS that Vault asks, in the place of the region's own.
    #[deserr(default)]
    #[schemars(regex(pattern = values::URL))]
    pub endpoint: Option<String>,
    /// Whose identity it is: exactly one of these. By default `environment: {}`.
    #[deserr(default)]
    pub source: Option<IdentityDocument>,
}

/// Whose identity a login with AWS shows: exactly one of these.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1, "maxProperties" = 1))]
pub struct IdentityDocument {
    /// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN of the relay's own
    /// environment. Write `environment: {}`.
    #[deserr(default)]
    pub environment: Option<EnvironmentDocument>,
    /// A file in the JSON form of a credential_process, read at each login.
    #[deserr(default)]
    pub file: Option<FileDocument>,
    /// A role for the token of an OIDC issuer: IRSA. Written as a profile's source is.
    #[deserr(default)]
    pub web_identity: Option<WebIdentityDocument>,
    /// A container credentials endpoint: EKS Pod Identity. Written as a profile's source is.
    #[deserr(default)]
    pub container: Option<ContainerDocument>,
    /// The instance's role. Written as a profile's source is.
    #[deserr(default)]
    pub imds: Option<ImdsDocument>,
}

/// The client certificate.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct CertDocument {
    /// Where the method is mounted.
    #[deserr(default)]
    #[schemars(regex(pattern = values::VAULT_PATH), extend("default" = "cert"))]
    pub mount: Option<String>,
    /// The role there; without it Vault tries all.
    #[deserr(default)]
    #[schemars(regex(pattern = values::VAULT_NAME))]
    pub name: Option<String>,
}

/// A user and a password.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct UserpassDocument {
    /// Where the method is mounted.
    #[deserr(default)]
    #[schemars(regex(pattern = values::VAULT_PATH), extend("default" = "userpass"))]
    pub mount: Option<String>,
    /// The user.
    #[deserr(default)]
    #[schemars(required, regex(pattern = values::VAULT_NAME))]
    pub username: Option<String>,
    /// Path of the file with the password.
    #[deserr(default)]
    #[schemars(required, regex(pattern = values::ABSOLUTE_PATH))]
    pub password_file: Option<String>,
}

/// A token that somebody else keeps in a file.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct TokenFileDocument {
    /// Its path.
    #[deserr(default)]
    #[schemars(required, regex(pattern = values::ABSOLUTE_PATH))]
    pub path: Option<String>,
}

/// VAULT_TOKEN of the relay's own environment: there is nothing to set.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct TokenDocument {}

/// A role of Vault's AWS secrets engine.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(
    deny_unknown_fields,
    extend("oneOf" = [{ "required": ["role"] }, { "required": ["static_role"] }])
)]
pub struct VaultSourceDocument {
    /// Where the engine is mounted.
    #[deserr(default)]
    #[schemars(regex(pattern = values::VAULT_PATH), extend("default" = "aws"))]
    pub mount: Option<String>,
    /// A role that makes new credentials at each read. This or `static_role`.
    #[deserr(default)]
    #[schemars(regex(pattern = values::VAULT_NAME))]
    pub role: Option<String>,
    /// A static role: the keys of one user, which Vault rotates.
    #[deserr(default)]
    #[schemars(regex(pattern = values::VAULT_NAME))]
    pub static_role: Option<String>,
    /// How long the credentials shall live: 15m to 12h for assumed_role, else to 36h. Without it
    /// the role's own default counts; an iam_user role goes by the engine's lease configuration.
    #[deserr(default)]
    #[schemars(regex(pattern = values::DURATION))]
    pub ttl: Option<String>,
    /// Which of an assumed_role role's ARNs is meant, where it has several.
    #[deserr(default)]
    #[schemars(regex(pattern = values::ROLE_ARN))]
    pub role_arn: Option<String>,
    /// The session's name, a template, for assumed_role and federation_token. By default Vault
    /// makes one.
    #[deserr(default)]
    #[schemars(length(min = 1), regex(pattern = values::SESSION_NAME_TEMPLATE))]
    pub session_name: Option<String>,
    /// What the role gives, so that what does not fit it is found at start.
    #[deserr(default)]
    pub credential_type: Option<CredentialTypeDocument>,
    /// In the place of vault.namespace.
    #[deserr(default)]
    #[schemars(regex(pattern = values::VAULT_NAMESPACE))]
    pub namespace: Option<String>,
    /// In the place of vault.auth, as a whole.
    #[deserr(default)]
    pub auth: Option<AuthDocument>,
}

/// The credential types of Vault's AWS secrets engine.
#[derive(Clone, Copy, Debug, Deserr, JsonSchema)]
#[deserr(error = Mistakes)]
#[schemars(rename_all = "snake_case")]
pub enum CredentialTypeDocument {
    /// A user of its own with long-lived keys.
    #[deserr(rename = "iam_user")]
    IamUser,
    /// A session of a role.
    #[deserr(rename = "assumed_role")]
    AssumedRole,
    /// A federation token.
    #[deserr(rename = "federation_token")]
    FederationToken,
    /// A session of the engine's own user.
    #[deserr(rename = "session_token")]
    SessionToken,
}

impl From<CredentialTypeDocument> for CredentialType {
    fn from(given: CredentialTypeDocument) -> Self {
        match given {
            CredentialTypeDocument::IamUser => Self::IamUser,
            CredentialTypeDocument::AssumedRole => Self::AssumedRole,
            CredentialTypeDocument::FederationToken => Self::FederationToken,
            CredentialTypeDocument::SessionToken => Self::SessionToken,
        }
    }
}
