//! What was asked of the upstream, for tests and for whoever watches a rotation.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::ledger::{self, Recorded};
use crate::arn::RoleArn;
use crate::credential::AccessKeyId;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// A session of a role.
    AssumeRole,
    /// The same for the token of an OIDC issuer.
    AssumeRoleWithWebIdentity,
    /// Who the caller is.
    GetCallerIdentity,
    /// A session of the user.
    GetSessionToken,
    /// Nothing that is known here.
    Other,
}

impl Action {
    /// The action of this name.
    pub(super) fn named(name: &str) -> Self {
        match name {
            "AssumeRole" => Self::AssumeRole,
            "AssumeRoleWithWebIdentity" => Self::AssumeRoleWithWebIdentity,
            "GetCallerIdentity" => Self::GetCallerIdentity,
            "GetSessionToken" => Self::GetSessionToken,
            _ => Self::Other,
        }
    }
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What it asked for.
    pub action: Action,
    /// The access key id that it claimed, if it had one.
    pub access_key_id: Option<String>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered, without a session being issued.
    Answered,
    /// A session of a role was issued.
    Assumed(Box<Assumption>),
    /// It was refused with this code.
    Refused(&'static str),
    /// A fault of this name took the answer's place.
    Faulted(&'static str),
}

/// A session of a role, as the upstream understood the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assumption {
    /// The role.
    pub role: RoleArn,
    /// The session's name.
    pub session_name: String,
    /// The key that was issued.
    pub access_key_id: AccessKeyId,
    /// How long it lives.
    pub lifetime: Duration,
    /// Its tags with those that came down the chain.
    pub tags: BTreeMap<String, String>,
    /// Its source identity, if it has one.
    pub source_identity: Option<String>,
}

impl Recorded for Call {
    type Kind = Action;

    fn kind(&self) -> Action {
        self.action
    }
}

/// The record of all calls; cheap to clone.
pub type Ledger = ledger::Ledger<Call>;
