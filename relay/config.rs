//! The configuration: what is read, checked as a whole, before anything starts.
//!
//! [`document`] holds the types of the file, from which its JSON schema comes too; this module
//! holds what the rest of the program gets: values that cannot be wrong.

pub mod document;
pub mod environment;
pub mod injector;
pub mod load;
pub mod mistakes;
mod resolve;
pub mod source;
mod template;
pub mod values;
pub mod vault;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::arn::RoleArn;
use mistakes::Place;
pub use source::Source;
use values::{
    PolicyArn, PolicyDocument, ProfileName, Region, SessionName, Tag, TokenDigest, UpstreamUrl,
};

/// A whole configuration, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where applications ask.
    pub endpoint: Endpoint,
    /// Where programs ask that speak to the instance metadata service alone.
    pub imds_emulation: ImdsEmulation,
    /// Where probes, Prometheus and the operator ask.
    pub admin: Admin,
    /// Where it is recorded who was given what.
    pub audit: Audit,
    /// The identities that are served; at least one.
    pub profiles: BTreeMap<ProfileName, Profile>,
    /// What becomes of Vault leases and tokens when the relay ends.
    pub leases_at_end: LeasesAtEnd,
    /// Whether the relay confines itself.
    pub sandbox: Sandbox,
    /// Which STS is asked where no hop says it: to identify what a profile without a chain gives.
    pub sts: Option<Sts>,
    /// The files that are read, each with the setting that names it.
    pub files: Vec<(Place, PathBuf)>,
    /// What is right but should be known, such as a lifetime that was clamped; logged at start
    /// and printed by `check`.
    pub warnings: Vec<String>,
}

impl Config {
    /// Where credentials are served: a source never asks there. A port of 0 is not known yet.
    pub fn own_addresses(&self) -> Vec<SocketAddr> {
        std::iter::once(self.endpoint.listen).chain(self.imds_emulation.listen()).collect()
    }
}

/// The first of the profiles whose source runs programs, if any does.
pub fn that_runs_programs(profiles: &BTreeMap<ProfileName, Profile>) -> Option<&ProfileName> {
    profiles.iter().find(|(_, profile)| profile.source.runs_programs()).map(|(name, _)| name)
}

/// Whether the relay confines itself to the folders and the system calls that it needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sandbox {
    /// As far as the kernel can.
    #[default]
    BestEffort,
    /// Whole, or the relay does not start.
    Required,
    /// Not at all.
    Off,
}

/// What becomes of Vault leases and tokens when the relay ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeasesAtEnd {
    /// They are left to their end: an application may still hold the keys.
    Left,
    /// They are revoked: the applications have ended before the relay.
    Revoked,
}

/// The endpoint that applications ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Loopback or link-local, unless the operator allowed another. Where it is 127.0.0.1, the
    /// same port of `::1` is served too if it can be bound.
    pub listen: SocketAddr,
    /// Names that a request's Host may have beside 127.0.0.1, localhost and ::1: in lower case,
    /// IPv6 addresses without brackets. The address of `listen` is among them.
    pub hosts: Vec<String>,
    /// Connections at one time; beyond it the one that has been idle longest is closed.
    pub max_connections: usize,
}

/// Whether the instance metadata service is emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImdsEmulation {
    /// It is not.
    Off,
    /// It is, for the only profile.
    On {
        /// Loopback or link-local.
        listen: SocketAddr,
        /// Which versions of its protocol are spoken.
        versions: ImdsVersions,
    },
}

impl ImdsEmulation {
    /// Where it listens, if it does.
    pub fn listen(&self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::On { listen, .. } => Some(*listen),
        }
    }
}

/// The versions of the instance metadata service's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImdsVersions {
    /// The one whose session tokens keep browsers and proxies out.
    V2,
    /// The first too, which answers whoever can send a GET.
    Both,
}

/// Where it is recorded which keys were fetched, and to whom they were handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audit {
    /// Nowhere.
    Off,
    /// On standard output.
    Stdout,
    /// In this file.
    File(PathBuf),
}

/// The admin listeners.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// TCP: probes and metrics, nothing else.
    pub listen: SocketAddr,
    /// A Unix socket, 0600: status and rotate.
    pub socket: PathBuf,
}

/// One named identity.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Where its base credentials come from.
    pub source: Source,
    /// The roles assumed from there on, in order; none serves the base itself.
    pub chain: Vec<Hop>,
    /// What to do where the base is served and turns out to be long-lived.
    pub long_lived_keys: LongLivedKeys,
    /// Whether new keys of a user are tried out before they are served.
    pub propagation: PropagationCheck,
    /// Who may ask for it.
    pub access: Access,
    /// A file of the SDKs' own form in which its credentials stand beside.
    pub credentials_file: Option<CredentialsFile>,
}

/// What to do with keys that have no session token or no expiry (endpoint-contract section 3).
#[derive(Clone, Debug, PartialEq)]
pub enum LongLivedKeys {
    /// They are not served; so it is for every profile with a chain.
    Refused,
    /// They are served as they are: the operator said so.
    Served,
    /// They are exchanged for a session: GetSessionToken.
    Exchanged {
        /// How long the session shall live: 15 min to 36 h, and no longer than the keys.
        duration: Duration,
        /// The STS that is asked.
        sts: Sts,
    },
}

/// Whether keys that were made for a user a moment ago are tried out before they are served: IAM
/// takes seconds to know them everywhere (upstreams section 1).
#[derive(Clone, Debug, PartialEq)]
pub enum PropagationCheck {
    /// They are served at once.
    Off,
    /// GetCallerIdentity must succeed so often first.
    On {
        /// Successes in a row.
        successes: u32,
        /// How long to wait after the last of them.
        settle: Duration,
        /// The STS that is asked.
        sts: Sts,
    },
}

/// How an upstream's TLS is spoken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// Roots in the place of the system's, PEM.
    pub ca_cert: Option<PathBuf>,
    /// What the relay shows of itself.
    pub client: Option<ClientCertificate>,
    /// The name that the certificate must have, and that is asked for, in the place of the
    /// address's host.
    pub server_name: Option<String>,
}

/// A client certificate: two PEM files, read again when either changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientCertificate {
    /// The certificate, with those between it and the root.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// One AssumeRole. Every template is filled in and every bound is checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Hop {
    /// The role.
    pub role_arn: RoleArn,
    /// The session's name.
    pub session_name: SessionName,
    /// The external id that the role's trust policy wants.
    pub external_id: Option<String>,
    /// How long the credentials shall live: 15 min to 12 h, at most 1 h where the caller is a role
    /// session.
    pub duration: Duration,
    /// Session tags.
    pub tags: Vec<Tag>,
    /// The source identity, which stays through the rest of the chain.
    pub source_identity: Option<SessionName>,
    /// A session policy.
    pub policy: Option<PolicyDocument>,
    /// Managed session policies, 10 at most.
    pub policy_arns: Vec<PolicyArn>,
    /// The STS that is asked.
    pub sts: Sts,
}

/// Which STS is asked, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Sts {
    /// Its region; the partition of every role that it is asked for is this region's.
    pub region: Region,
    /// In the place of the region's own endpoint.
    pub endpoint: Option<UpstreamUrl>,
    /// The FIPS endpoint.
    pub fips: bool,
    /// The dual-stack endpoint.
    pub dual_stack: bool,
    /// Roots in the place of the system's, PEM.
    pub ca_cert: Option<PathBuf>,
}

/// A shared-credentials file that the relay keeps up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialsFile {
    /// Its path; nothing but the relay writes there.
    pub path: PathBuf,
    /// The name that the credentials have in it.
    pub section: String,
}

/// Who may ask for a profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// The file with the access token; the relay writes it if it is not there.
    pub token_file: PathBuf,
    /// More such files, each with a token of its own.
    pub more_token_files: Vec<PathBuf>,
    /// What further tokens are known by.
    pub token_digests: Vec<TokenDigest>,
}

impl Access {
    /// Whether whoever may ask by this could by `other` too.
    pub fn is_within(&self, other: &Self) -> bool {
        self.files().all(|file| other.files().any(|known| known == file))
            && self.token_digests.iter().all(|digest| other.token_digests.contains(digest))
    }

    /// All of the files.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> + Clone {
        std::iter::once(&self.token_file).chain(&self.more_token_files)
    }
}
