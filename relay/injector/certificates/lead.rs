//! Who writes: whoever holds the Lease. It is taken only while there is something to write, and given
//! back then, so that nothing is written day and night for its sake.
//!
//! The Lease saves work and noise; it is not what keeps two writers apart. Each write carries the
//! resourceVersion that was read, and the API server refuses it if somebody else was first.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::objects::{Metadata, NewMetadata};
use crate::clock::{Moment, Timestamp};

/// A Lease that did not change for this long has a holder that is gone. By this replica's own clock:
/// the times in it are of another's.
const DURATION: Duration = Duration::from_secs(15);

/// The Lease as it is read.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Lease {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    holder_identity: Option<String>,
    #[serde(default)]
    lease_transitions: Option<i32>,
}

impl Lease {
    /// Whether it is in this replica's name.
    pub(super) fn is_of(&self, candidate: &Candidate) -> bool {
        self.spec.holder_identity.as_deref() == Some(candidate.name.as_str())
    }
}

/// What is to be done to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Make the Lease.
    Create,
    /// Put this replica's name into it.
    Take,
    /// It is this replica's.
    Ours,
    /// Another one leads.
    Wait,
}

/// A replica that may lead.
#[derive(Debug)]
pub(super) struct Candidate {
    name: String,
    /// The Lease's version that was seen last, and since when.
    seen: Option<(String, Moment)>,
}

impl Candidate {
    pub(super) fn new(name: String) -> Self {
        Self { name, seen: None }
    }

    /// Judges the Lease.
    pub(super) fn claim(&mut self, lease: Option<&Lease>, now: Moment) -> Claim {
        let Some(lease) = lease else {
            return Claim::Create;
        };
        let version = &lease.metadata.resource_version;
        let since = match &self.seen {
            Some((seen, since)) if seen == version => *since,
            _ => self.seen.insert((version.clone(), now)).1,
        };
        match lease.spec.holder_identity.as_deref() {
            None | Some("") => Claim::Take,
            // A write of another one may have been on its way for long: it is renewed first.
            Some(holder) if holder == self.name => {
                if now.boot.saturating_sub(since.boot) < DURATION { Claim::Ours } else { Claim::Take }
            }
            Some(_) if now.boot.saturating_sub(since.boot) >= DURATION => Claim::Take,
            Some(_) => Claim::Wait,
        }
    }

    /// The Lease in this replica's name.
    pub(super) fn new_lease<'a>(&'a self, lease: &'a str, now: Timestamp) -> NewLease<'a> {
        NewLease { metadata: NewMetadata::named(lease), spec: self.spec(now, 0) }
    }

    /// The change that takes it.
    pub(super) fn take<'a>(&'a self, lease: &'a Lease, now: Timestamp) -> LeasePatch<'a> {
        let before = lease.spec.lease_transitions.unwrap_or(0);
        let changes = lease.spec.holder_identity.as_deref() != Some(&self.name);
        let spec = self.spec(now, before.saturating_add(i32::from(changes)));
        LeasePatch { metadata: Version::of(lease), spec }
    }

    fn spec(&self, now: Timestamp, lease_transitions: i32) -> NewSpec<'_> {
        let at = micro(now);
        NewSpec {
            holder_identity: &self.name,
            lease_duration_seconds: DURATION.as_secs(),
            acquire_time: at.clone(),
            renew_time: at,
            lease_transitions,
        }
    }
}

/// The change that gives the Lease back.
pub(super) fn release(lease: &Lease) -> Release<'_> {
    Release { metadata: Version::of(lease), spec: Released { holder_identity: None } }
}

/// The Lease's times have microseconds, or the API server does not read them.
fn micro(at: Timestamp) -> String {
    at.to_string().replace('Z', ".000000Z")
}

#[derive(Serialize)]
pub(super) struct NewLease<'a> {
    metadata: NewMetadata<'a>,
    spec: NewSpec<'a>,
}

#[derive(Serialize)]
pub(super) struct LeasePatch<'a> {
    metadata: Version<'a>,
    spec: NewSpec<'a>,
}

#[derive(Serialize)]
pub(super) struct Release<'a> {
    metadata: Version<'a>,
    spec: Released,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Released {
    holder_identity: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version<'a> {
    resource_version: &'a str,
}

impl<'a> Version<'a> {
    fn of(lease: &'a Lease) -> Self {
        Self { resource_version: &lease.metadata.resource_version }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewSpec<'a> {
    holder_identity: &'a str,
    lease_duration_seconds: u64,
    acquire_time: String,
    renew_time: String,
    lease_transitions: i32,
}
