//! What an operator configures: logins, the AWS secrets engine's roles, and how long things live.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::sts::Propagation;
use crate::arn::RoleArn;
use crate::credential::Secret;

/// Vault's default for both of a mount's lease lifetimes: 768 h.
const SYSTEM_TTL: Duration = Duration::from_secs(768 * 3_600);

/// The configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who may log in.
    pub logins: Vec<Login>,
    /// The path of the AWS secrets engine, without slashes at its ends.
    pub mount: String,
    /// The AWS secrets engine's roles, by their names.
    pub roles: BTreeMap<String, Role>,
    /// Its static roles, by their names.
    pub static_roles: BTreeMap<String, StaticRole>,
    /// The leases of IAM users (`config/lease`).
    pub lease: Lease,
    /// The longest life of anything that is given out.
    pub max_ttl: Duration,
    /// Where logins and secrets are to be asked for.
    pub namespaces: Namespaces,
    /// How long AWS takes to know a new key.
    pub propagation: Propagation,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            logins: Vec::new(),
            mount: "aws".to_owned(),
            roles: BTreeMap::new(),
            static_roles: BTreeMap::new(),
            lease: Lease::default(),
            max_ttl: SYSTEM_TTL,
            namespaces: Namespaces::default(),
            propagation: Propagation::default(),
        }
    }
}

/// How long a lease of an IAM user lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Until it must be renewed.
    pub ttl: Duration,
    /// With all renewals.
    pub max: Duration,
}

impl Default for Lease {
    fn default() -> Self {
        Self { ttl: SYSTEM_TTL, max: SYSTEM_TTL }
    }
}

/// The namespaces of Vault Enterprise. Where none is set the header is ignored, as the community
/// edition does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Of the auth methods.
    pub auth: Option<String>,
    /// Of the AWS secrets engine.
    pub secrets: Option<String>,
}

/// A role of an auth method.
#[derive(Clone, Debug)]
pub struct Login {
    /// The path of the auth method below `auth/`, without slashes at its ends.
    pub mount: String,
    /// The role's name; for userpass the user's.
    pub role: String,
    /// What proves that one may have it.
    pub material: Material,
    /// The token that it gives.
    pub grant: Grant,
}

/// What proves that one may log in.
#[derive(Clone, Debug)]
pub enum Material {
    /// A service account's JWT, which Kubernetes would confirm.
    Kubernetes {
        /// The one that is accepted.
        jwt: Secret,
    },
    /// A JWT.
    Jwt {
        /// The one that is accepted.
        jwt: Secret,
    },
    /// A role id and one of the secret ids.
    AppRole {
        /// The role id.
        role_id: String,
        /// The secret ids that are good still.
        secret_ids: Vec<SecretId>,
    },
    /// A password.
    UserPass {
        /// The password.
        password: Secret,
    },
    /// A client certificate, of which this Vault sees nothing, since it speaks no TLS.
    Cert {
        /// Whether it would have been right.
        accepted: bool,
    },
    /// A signed GetCallerIdentity, checked by the embedded STS.
    Aws {
        /// The bound principal, in IAM's form: `arn:aws:iam::…:role/…` for a role's session. Any
        /// if there is none.
        principal: Option<String>,
        /// What `X-Vault-AWS-IAM-Server-ID` must say, and be signed.
        server_id: Option<String>,
    },
}

/// A secret id of an approle.
#[derive(Clone, Debug)]
pub struct SecretId {
    /// The secret id.
    pub value: Secret,
    /// Logins for which it is good; 0 for any number.
    pub uses: u32,
}

/// What a token may do, and for how long.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Whether it is stored.
    pub kind: TokenKind,
    /// Until it must be renewed.
    pub ttl: Duration,
    /// With all renewals (`token_max_ttl`).
    pub max_ttl: Option<Duration>,
    /// With all renewals, for a periodic token too (`token_explicit_max_ttl`).
    pub explicit_max_ttl: Option<Duration>,
    /// Each renewal is for this long, without end.
    pub period: Option<Duration>,
    /// Requests for which it is good; 0 for any number.
    pub num_uses: u32,
    /// Whether it may be renewed, if it is a service token.
    pub renewable: bool,
    /// Paths that its policies deny, by their beginnings, as in `auth/token/renew-self`.
    pub denied: Vec<String>,
}

impl Default for Grant {
    /// A renewable service token of an hour, at most a day.
    fn default() -> Self {
        Self {
            kind: TokenKind::Service,
            ttl: Duration::from_secs(3_600),
            max_ttl: Some(Duration::from_secs(24 * 3_600)),
            explicit_max_ttl: None,
            period: None,
            num_uses: 0,
            renewable: true,
            denied: Vec::new(),
        }
    }
}

/// The kinds of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Stored: it can be renewed and revoked.
    Service,
    /// Not stored: it can be neither.
    Batch,
}

impl TokenKind {
    /// Its name in answers.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Batch => "batch",
        }
    }
}

/// A role of the AWS secrets engine.
#[derive(Clone, Debug)]
pub struct Role {
    /// What it gives.
    pub kind: CredentialType,
    /// How long a session lives if the caller doesn't say (`default_sts_ttl`).
    pub default_ttl: Option<Duration>,
    /// How long it may live (`max_sts_ttl`).
    pub max_ttl: Option<Duration>,
}

impl Role {
    /// A role without lifetimes of its own.
    pub const fn new(kind: CredentialType) -> Self {
        Self { kind, default_ttl: None, max_ttl: None }
    }
}

/// What a role of the AWS secrets engine gives.
#[derive(Clone, Debug)]
pub enum CredentialType {
    /// Keys of a new IAM user.
    IamUser,
    /// A session of one of these roles.
    AssumedRole(Vec<RoleArn>),
    /// A session that is called a federated user's.
    FederationToken,
    /// A session of Vault's own user.
    SessionToken,
}

/// A static role: keys of one user that Vault rotates.
#[derive(Clone, Debug)]
pub struct StaticRole {
    /// The user's name.
    pub user: String,
    /// How long a key stays.
    pub period: Duration,
    /// How much later than it says Vault rotates: its tick is a minute.
    pub late: Duration,
}
