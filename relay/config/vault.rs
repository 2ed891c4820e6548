//! What the rest of the program gets to know of a Vault: checked, every template filled in.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::values::{
    Region, SessionName, UpstreamUrl, VaultAddress, VaultName, VaultNamespace, VaultPath,
};
use super::{Source, Tls};
use crate::arn::RoleArn;

/// One profile's part of Vault: what is read there, and as whom.
#[derive(Clone, Debug, PartialEq)]
pub struct VaultSource {
    /// Which Vault, and the login. Profiles with equal ones share a session.
    pub vault: Arc<Vault>,
    /// The namespace of the secrets; the login has its own.
    pub namespace: VaultNamespace,
    /// Where the AWS secrets engine is mounted; `aws` by default.
    pub mount: VaultPath,
    /// What is read there.
    pub role: VaultRole,
}

/// A role of the AWS secrets engine.
#[derive(Clone, Debug, PartialEq)]
pub enum VaultRole {
    /// A role that makes new credentials at each read.
    Dynamic {
        /// Its name.
        name: VaultName,
        /// How long the credentials shall live. Without it the role's own default counts. An
        /// iam_user role ignores it: its leases go by the engine's configuration.
        ttl: Option<Duration>,
        /// Which of an assumed_role role's ARNs is meant; Vault wants it where there are several.
        role_arn: Option<RoleArn>,
        /// The session's name, for assumed_role and federation_token.
        session_name: Option<SessionName>,
        /// What the operator said that the role gives.
        credential_type: DeclaredType,
    },
    /// A static role: the keys of one user, which Vault rotates.
    Static {
        /// Its name.
        name: VaultName,
    },
}

/// What kind of credentials the operator says that a role gives. It is compared with what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeclaredType {
    /// Nothing was said: what comes is seen when it comes.
    Unsaid,
    /// It was said.
    Said(CredentialType),
}

/// The credential types of the AWS secrets engine (upstreams section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CredentialType {
    /// A user of its own with long-lived keys, which live as long as the lease.
    IamUser,
    /// A session of a role.
    AssumedRole,
    /// A federation token, which may call nothing in STS but GetCallerIdentity.
    FederationToken,
    /// A session of the engine's own user.
    SessionToken,
}

impl std::fmt::Display for CredentialType {
    /// As Vault and the configuration write it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::IamUser => "iam_user",
            Self::AssumedRole => "assumed_role",
            Self::FederationToken => "federation_token",
            Self::SessionToken => "session_token",
        })
    }
}

/// A Vault and the way in.
#[derive(Clone, Debug, PartialEq)]
pub struct Vault {
    /// Where it is.
    pub address: VaultAddress,
    /// Roots, client certificate and server name.
    pub tls: Tls,
    /// One HTTP exchange takes at most this long.
    pub timeout: Duration,
    /// Hosts beside the address's own to which a redirect may lead; the token goes there too.
    pub redirect_hosts: Vec<String>,
    /// The namespace of the login.
    pub auth_namespace: VaultNamespace,
    /// How to log in.
    pub login: Login,
}

/// How to log in. Every file is read at each login, and trimmed.
#[derive(Clone, Debug, PartialEq)]
pub enum Login {
    /// A Kubernetes service account.
    Kubernetes {
        /// Where the method is mounted.
        mount: VaultPath,
        /// The role there.
        role: VaultName,
        /// The service account's token.
        token_file: PathBuf,
    },
    /// A role id and a secret id.
    AppRole {
        /// Where the method is mounted.
        mount: VaultPath,
        /// The role id.
        role_id: RoleId,
        /// The secret id.
        secret_id: SecretId,
    },
    /// A JWT of any issuer that Vault trusts.
    Jwt {
        /// Where the method is mounted.
        mount: VaultPath,
        /// The role there.
        role: VaultName,
        /// The JWT.
        token_file: PathBuf,
    },
    /// AWS's own identity: a signed GetCallerIdentity.
    Aws {
        /// Where the method is mounted.
        mount: VaultPath,
        /// The role there.
        role: VaultName,
        /// What `X-Vault-AWS-IAM-Server-ID` must say, where the method demands it.
        server_id: Option<String>,
        /// The region whose STS Vault asks.
        region: Region,
        /// In the place of the region's endpoint.
        endpoint: Option<UpstreamUrl>,
        /// Whose identity it is; never a Vault.
        credentials: Box<Source>,
    },
    /// A client certificate, the one of [`Tls`].
    Cert {
        /// Where the method is mounted.
        mount: VaultPath,
        /// The role there; without it Vault tries all.
        name: Option<VaultName>,
    },
    /// A user and a password.
    Userpass {
        /// Where the method is mounted.
        mount: VaultPath,
        /// The user.
        username: VaultName,
        /// The password.
        password_file: PathBuf,
    },
    /// A token that somebody else keeps in a file, such as a Vault Agent's sink.
    TokenFile {
        /// The file.
        path: PathBuf,
    },
    /// `VAULT_TOKEN` of the relay's own environment, for development.
    Token,
}

/// A role id is no secret, but may stand in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleId {
    /// As it is.
    Plain(String),
    /// In a file.
    File(PathBuf),
}

/// Where a secret id is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretId {
    /// The role is bound otherwise and has none.
    None,
    /// In a file.
    File(PathBuf),
    /// The file holds a wrapping token, good for one unwrapping.
    Wrapped {
        /// The file.
        path: PathBuf,
        /// Where the wrapping token must have been made, such as
        /// `auth/approle/role/payments/secret-id`: another place means that somebody put it there.
        creation_path: VaultPath,
    },
}
