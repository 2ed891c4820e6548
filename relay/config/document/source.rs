//! What may stand where base credentials come from.

use deserr::Deserr;
use schemars::JsonSchema;

use super::{PolicyValue, VaultSourceDocument};
use crate::config::mistakes::Mistakes;
use crate::config::{resolve, values};

/// Where base credentials come from: exactly one of these.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1, "maxProperties" = 1))]
pub struct SourceDocument {
    /// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN of the relay's own
    /// environment. Write `environment: {}`.
    #[deserr(default)]
    pub environment: Option<EnvironmentDocument>,
    /// A file in the JSON form of a credential_process, read at each fetch.
    #[deserr(default)]
    pub file: Option<FileDocument>,
    /// A role of Vault's AWS secrets engine.
    #[deserr(default)]
    pub vault: Option<VaultSourceDocument>,
    /// A role for the token of an OIDC issuer, such as a pod's service account: IRSA.
    #[deserr(default)]
    pub web_identity: Option<WebIdentityDocument>,
    /// A container credentials endpoint: EKS Pod Identity's agent, or ECS's.
    #[deserr(default)]
    pub container: Option<ContainerDocument>,
    /// The instance's role, from its metadata service (IMDSv2).
    #[deserr(default)]
    pub imds: Option<ImdsDocument>,
    /// A role for an X.509 certificate: IAM Roles Anywhere.
    #[deserr(default)]
    pub roles_anywhere: Option<RolesAnywhereDocument>,
    /// A profile of the SDKs' shared configuration and credentials files. Not in the container
    /// image.
    #[deserr(default)]
    pub profile: Option<SharedProfileDocument>,
    /// A program that prints a credential_process document. Not in the container image.
    #[deserr(default)]
    pub process: Option<ProcessDocument>,
    /// The first of the ways that is configured, in the order of the SDKs. Write `auto: {}`.
    #[deserr(default)]
    pub auto: Option<AutoDocument>,
}

/// The relay's own environment: there is nothing to set.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct EnvironmentDocument {}

/// The order of the SDKs: there is nothing to set.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct AutoDocument {}

/// A file in the JSON form of a credential_process.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct FileDocument {
    /// Its path.
    #[deserr(default)]
    #[schemars(required, regex(pattern = values::ABSOLUTE_PATH))]
    pub path: Option<String>,
}

/// A role for the token of an OIDC issuer.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct WebIdentityDocument {
    /// The role's ARN. Else AWS_ROLE_ARN.
    #[deserr(default)]
    #[schemars(regex(pattern = values::ROLE_ARN))]
    pub role_arn: Option<String>,
    /// Path of the file with the token, read at each call. Else AWS_WEB_IDENTITY_TOKEN_FILE.
    #[deserr(default)]
    #[schemars(regex(pattern = values::ABSOLUTE_PATH))]
    pub token_file: Option<String>,
    /// The session's name, a template; cut to 64 characters. Else AWS_ROLE_SESSION_NAME, else the
    /// namespace, the pod and the profile, as far as they are known.
    #[deserr(default)]
    #[schemars(length(min = 1), regex(pattern = values::SESSION_NAME_TEMPLATE))]
    pub session_name: Option<String>,
    /// How long the credentials shall live: 15 minutes to 12 hours, and no longer than the role
    /// allows.
    #[deserr(default)]
    #[schemars(regex(pattern = values::DURATION), extend("default" = "1h"))]
    pub duration: Option<String>,
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

/// A container credentials endpoint.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct ContainerDocument {
    /// Its URL: https, or http to loopback and link-local addresses and those of AWS's agents. Else
    /// AWS_CONTAINER_CREDENTIALS_RELATIVE_URI (on http://169.254.170.2), else
    /// AWS_CONTAINER_CREDENTIALS_FULL_URI. Never the relay's own endpoint.
    #[deserr(default)]
    #[schemars(regex(pattern = values::CONTAINER_URI))]
    pub uri: Option<String>,
    /// Path of the file with the authorization token, read at each request. Where `uri` is not
    /// set, else AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE, else AWS_CONTAINER_AUTHORIZATION_TOKEN.
    #[deserr(default)]
    #[schemars(regex(pattern = values::ABSOLUTE_PATH))]
    pub token_file: Option<String>,
}

/// The instance's metadata service.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct ImdsDocument {
    /// Its URL. Else AWS_EC2_METADATA_SERVICE_ENDPOINT, else by `ipv6`.
    #[deserr(default)]
    #[schemars(regex(pattern = values::URL))]
    pub endpoint: Option<String>,
    /// Whether it is asked at `http://[fd00:ec2::254]` in the place of `http://169.254.169.254`. Else
    /// whether AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE is IPv6.
    #[deserr(default)]
    pub ipv6: Option<bool>,
}

/// A role for an X.509 certificate.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct RolesAnywhereDocument {
    /// The ARN of the trust anchor.
    #[deserr(default)]
    #[schemars(required, regex(pattern = values::TRUST_ANCHOR_ARN))]
    pub trust_anchor_arn: Option<String>,
    /// The ARN of the Roles Anywhere profile.
    #[deserr(default)]
    #[schemars(required, regex(pattern = values::ANYWHERE_PROFILE_ARN))]
    pub profile_arn: Option<String>,
    /// The role's ARN.
    #[deserr(default)]
    #[schemars(required, regex(pattern = values::ROLE_ARN))]
    pub role_arn: Option<String>,
    /// Path of a PEM file with the certificate, and after it those between it and the trust
    /// anchor's. Read again when it changes.
    #[deserr(default)]
    #[schemars(required, regex(pattern = values::ABSOLUTE_PATH))]
    pub certificate: Option<String>,
    /// Path of a PEM file with the certificate's key: RSA, or ECDSA over P-256.
    #[deserr(default)]
    #[schemars(required, regex(pattern = values::ABSOLUTE_PATH))]
    pub private_key: Option<String>,
    /// The session's name, a template, where the Roles Anywhere profile accepts one.
    #[deserr(default)]
    #[schemars(length(min = 1), regex(pattern = values::SESSION_NAME_TEMPLATE))]
    pub session_name: Option<String>,
    /// How long the credentials shall live: 15 minutes to 12 hours.
    #[deserr(default)]
    #[schemars(regex(pattern = values::DURATION), extend("default" = "1h"))]
    pub duration: Option<String>,
    /// The region that is asked, in the place of the trust anchor's.
    #[deserr(default)]
    #[schemars(regex(pattern = values::REGION))]
    pub region: Option<String>,
    /// A URL in the place of the region's own endpoint. http only to loopback and link-local
    /// addresses.
    #[deserr(default)]
    #[schemars(regex(pattern = values::URL))]
    pub endpoint: Option<String>,
    /// Path of a PEM file with the roots to trust in the place of the system's, for the TLS of the
    /// endpoint. Else AWS_CA_BUNDLE.
    #[deserr(default)]
    #[schemars(regex(pattern = values::ABSOLUTE_PATH))]
    pub ca_cert: Option<String>,
}

/// A profile of the SDKs' shared files.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct SharedProfileDocument {
    /// Its name. Else AWS_PROFILE, else `default`.
    #[deserr(default)]
    #[schemars(length(min = 1, max = 256))]
    pub name: Option<String>,
    /// Path of the configuration file. Else AWS_CONFIG_FILE, else ~/.aws/config.
    #[deserr(default)]
    #[schemars(regex(pattern = values::ABSOLUTE_PATH))]
    pub config_file: Option<String>,
    /// Path of the credentials file. Else AWS_SHARED_CREDENTIALS_FILE, else ~/.aws/credentials.
    #[deserr(default)]
    #[schemars(regex(pattern = values::ABSOLUTE_PATH))]
    pub credentials_file: Option<String>,
}

/// A program that prints a credential_process document.
#[derive(Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Mistakes, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct ProcessDocument {
    /// The program's path, and what it is given; no shell reads it.
    #[deserr(default)]
    #[schemars(required, with = "Vec<String>", length(min = 1))]
    pub command: Option<Vec<Option<String>>>,
    /// How long it may take, 1s to 5m.
    #[deserr(default)]
    #[schemars(regex(pattern = values::DURATION), extend("default" = resolve::PROCESS_TIMEOUT))]
    pub timeout: Option<String>,
}
