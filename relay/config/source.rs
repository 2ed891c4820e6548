//! Where base credentials come from, checked.

use std::path::PathBuf;
use std::time::Duration;

use super::values::{
    ContainerUri, PolicyArn, PolicyDocument, Region, RolesAnywhereArn, SessionName, UpstreamUrl,
};
use super::vault::VaultSource;
use super::{ClientCertificate, Sts};
use crate::arn::RoleArn;

/// Where base credentials come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN` of the relay's own
    /// environment, read at the first fetch.
    Environment,
    /// A file in the JSON form of a `credential_process`, read at each fetch.
    File {
        /// Its path.
        path: PathBuf,
    },
    /// Vault's AWS secrets engine.
    Vault(VaultSource),
    /// A role for the token of an OIDC issuer, such as a pod's service account: IRSA.
    WebIdentity(Box<WebIdentity>),
    /// An endpoint that speaks as the relay's own does: EKS Pod Identity's agent, ECS's.
    Container(Container),
    /// The instance's role, from its metadata service.
    Imds(Imds),
    /// A role for a certificate: IAM Roles Anywhere.
    RolesAnywhere(Box<RolesAnywhere>),
    /// A profile of the SDKs' shared configuration and credentials files.
    Profile(SharedProfile),
    /// A program that prints a `credential_process` document.
    Process(Process),
    /// The first of these that is configured, in the order of the SDKs.
    Auto(Vec<Source>),
}

impl Source {
    /// Whether programs may be run for it: its own, or those that shared files name.
    pub fn runs_programs(&self) -> bool {
        match self {
            Self::Process(_) | Self::Profile(_) => true,
            Self::Auto(sources) => sources.iter().any(Self::runs_programs),
            Self::Environment
            | Self::File { .. }
            | Self::Vault(_)
            | Self::WebIdentity(_)
            | Self::Container(_)
            | Self::Imds(_)
            | Self::RolesAnywhere(_) => false,
        }
    }
}

/// AssumeRoleWithWebIdentity. Every template is filled in and every bound is checked.
#[derive(Clone, Debug, PartialEq)]
pub struct WebIdentity {
    /// The role.
    pub role_arn: RoleArn,
    /// The file with the token, read at each call.
    pub token_file: PathBuf,
    /// The session's name.
    pub session_name: SessionName,
    /// How long the credentials shall live: 15 min to 12 h.
    pub duration: Duration,
    /// A session policy.
    pub policy: Option<PolicyDocument>,
    /// Managed session policies, 10 at most.
    pub policy_arns: Vec<PolicyArn>,
    /// The STS that is asked.
    pub sts: Sts,
}

/// An endpoint that speaks as the relay's own does.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// Where it is: https, or http on this machine, its link, or where AWS's agents are.
    pub uri: ContainerUri,
    /// What the requests carry.
    pub authorization: Authorization,
}

/// What requests to a container endpoint carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// Nothing.
    Nothing,
    /// The text of `AWS_CONTAINER_AUTHORIZATION_TOKEN`.
    Variable,
    /// The text of this file, read at each request.
    File(PathBuf),
}

/// The instance's metadata service.
#[derive(Clone, Debug, PartialEq)]
pub struct Imds {
    /// Where it is.
    pub endpoint: UpstreamUrl,
}

/// IAM Roles Anywhere's CreateSession.
#[derive(Clone, Debug, PartialEq)]
pub struct RolesAnywhere {
    /// The trust anchor, whose CA signed the certificate.
    pub trust_anchor_arn: RolesAnywhereArn,
    /// The profile, which lists the roles.
    pub profile_arn: RolesAnywhereArn,
    /// The role.
    pub role_arn: RoleArn,
    /// The certificate, with those between it and the trust anchor's, and its key.
    pub certificate: ClientCertificate,
    /// The session's name, where the profile accepts one.
    pub session_name: Option<SessionName>,
    /// How long the credentials shall live: 15 min to 12 h.
    pub duration: Duration,
    /// The region that is asked.
    pub region: Region,
    /// In the place of the region's own endpoint.
    pub endpoint: Option<UpstreamUrl>,
    /// Roots in the place of the system's, PEM.
    pub ca_cert: Option<PathBuf>,
}

/// A profile of the SDKs' shared files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedProfile {
    /// Whether somebody named it.
    pub meant: Meant,
    /// Its name; none is what `AWS_PROFILE` says, else `default`.
    pub name: Option<String>,
    /// In the place of `~/.aws/config`.
    pub config_file: Option<PathBuf>,
    /// In the place of `~/.aws/credentials`.
    pub credentials_file: Option<PathBuf>,
    /// Roots in the place of the system's, PEM, for what the profile leads to.
    pub ca_cert: Option<PathBuf>,
}

/// Whether a profile is asked for, or merely what the SDKs would look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meant {
    /// A setting or a variable of the SDKs' names it, or one of its files.
    ByName,
    /// Only the defaults: it counts if it is there.
    IfThere,
}

/// A program that prints a `credential_process` document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The program's path.
    pub program: PathBuf,
    /// What it is given.
    pub arguments: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
}
