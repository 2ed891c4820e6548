//! Who writes: whoever holds the Lease. It is taken only while there is something to write, and given
//! back then, so that nothing is written day and night for its sake.
//!
//! The Lease saves work and noise; it is not what keeps two writers apart. Each write carries the
//! resourceVersion that was read, and the API server refuses it if somebody else was first.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::objects::{Metadata, NewMetadata};
use crate::clock::{Moment, Timestamp};
use crate::kubernetes::{Error, Kubernetes, Object, Patch};

/// A Lease that did not change for this long has a holder that is gone. By this replica's own clock:
/// the times in it are of another's.
const DURATION: Duration = Duration::from_secs(15);

/// The Lease as it is read.
#[derive(Clone, Debug, Deserialize)]
struct Lease {
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

/// What is to be done to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
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
    lease: String,
    object: Object,
    /// Whether it does.
    leads: bool,
    /// The Lease's version that was seen last, and since when.
    seen: Option<(String, Moment)>,
}

impl Candidate {
    pub(super) fn new(name: String, namespace: &str, lease: &str) -> Self {
        let object = Object::lease(namespace, lease);
        Self { name, lease: lease.to_owned(), object, leads: false, seen: None }
    }

    /// Whether this replica leads, which it does from now on if it can.
    ///
    /// # Errors
    /// If the Lease could be neither read nor taken.
    pub(super) async fn lead(&mut self, at: &mut Kubernetes, now: Moment) -> Result<bool, Error> {
        let lease: Option<Lease> = at.get(&self.object).await?;
        let taken = match (self.claim(lease.as_ref(), now), &lease) {
            (Claim::Ours, _) => Ok(()),
            (Claim::Wait, _) => {
                self.leads = false;
                return Ok(false);
            }
            (Claim::Take, Some(lease)) => {
                at.patch(&self.object, Patch::Merge, &self.take(lease, now.wall)).await
            }
            (Claim::Create | Claim::Take, _) => {
                at.create(&self.object, &self.new_lease(now.wall)).await
            }
        };
        self.leads = taken.is_ok();
        match taken {
            Err(error) if error.is_conflict() => Ok(false),
            taken => taken.map(|()| true),
        }
    }

    /// Gives the Lease back, if this replica has it. If that fails it runs out.
    pub(super) async fn step_down(&mut self, at: &mut Kubernetes) {
        if !std::mem::take(&mut self.leads) {
            return;
        }
        let given_back = match at.get::<Lease>(&self.object).await {
            Ok(Some(lease)) if lease.spec.holder_identity.as_ref() == Some(&self.name) => {
                at.patch(&self.object, Patch::Merge, &release(&lease)).await
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = given_back {
            tracing::debug!(%error, "the Lease was not given back");
        }
    }

    /// Judges the Lease.
    fn claim(&mut self, lease: Option<&Lease>, now: Moment) -> Claim {
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
                if now.boot.saturating_sub(since.boot) < DURATION {
                    Claim::Ours
                } else {
                    Claim::Take
                }
            }
            Some(_) if now.boot.saturating_sub(since.boot) >= DURATION => Claim::Take,
            Some(_) => Claim::Wait,
        }
    }

    /// The Lease in this replica's name.
    fn new_lease(&self, now: Timestamp) -> NewLease<'_> {
        NewLease { metadata: NewMetadata::named(&self.lease), spec: self.spec(now, 0) }
    }

    /// The change that takes it.
    fn take<'a>(&'a self, lease: &'a Lease, now: Timestamp) -> LeasePatch<'a> {
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
fn release(lease: &Lease) -> Release<'_> {
    Release { metadata: Version::of(lease), spec: Released { holder_identity: None } }
}

/// The Lease's times have microseconds, or the API server does not read them.
fn micro(at: Timestamp) -> String {
    at.to_string().replace('Z', ".000000Z")
}

#[derive(Serialize)]
struct NewLease<'a> {
    metadata: NewMetadata<'a>,
    spec: NewSpec<'a>,
}

#[derive(Serialize)]
struct LeasePatch<'a> {
    metadata: Version<'a>,
    spec: NewSpec<'a>,
}

#[derive(Serialize)]
struct Release<'a> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(version: u32, holder: Option<&str>) -> Lease {
        serde_json::from_value(serde_json::json!({
            "metadata": {"resourceVersion": version.to_string()},
            "spec": {"holderIdentity": holder, "leaseTransitions": 3},
        }))
        .unwrap()
    }

    fn at(secs: u64) -> Moment {
        Moment { wall: Timestamp::from_secs(1_795_565_230), boot: Duration::from_secs(secs) }
    }

    #[test]
    fn another_ones_lease_is_taken_once_it_did_not_change_for_its_duration() {
        let mut candidate = Candidate::new("me".to_owned(), "relay", "leader");
        assert_eq!(candidate.claim(None, at(0)), Claim::Create);
        for (secs, version, holder, expected) in [
            (0, 1, None, Claim::Take),
            (0, 2, Some(""), Claim::Take),
            (0, 3, Some("other"), Claim::Wait),
            (14, 3, Some("other"), Claim::Wait),
            (15, 3, Some("other"), Claim::Take),
            // It was renewed after all.
            (16, 4, Some("other"), Claim::Wait),
            (30, 4, Some("other"), Claim::Wait),
            (31, 4, Some("other"), Claim::Take),
            (32, 5, Some("me"), Claim::Ours),
            (46, 5, Some("me"), Claim::Ours),
            (47, 5, Some("me"), Claim::Take),
        ] {
            let claim = candidate.claim(Some(&lease(version, holder)), at(secs));
            assert_eq!(claim, expected, "{secs} {version} {holder:?}");
        }
    }

    #[test]
    fn a_change_carries_the_version_and_counts_new_holders() {
        let candidate = Candidate::new("me".to_owned(), "relay", "leader");
        let patch = |holder| {
            let lease = lease(7, holder);
            serde_json::to_value(candidate.take(&lease, at(0).wall)).unwrap()
        };
        let taken = patch(Some("other"));
        assert_eq!(taken["metadata"]["resourceVersion"], "7");
        assert_eq!(taken["spec"]["holderIdentity"], "me");
        assert_eq!(taken["spec"]["leaseTransitions"], 4);
        assert_eq!(taken["spec"]["renewTime"], "2026-11-25T00:07:10.000000Z");
        assert_eq!(patch(Some("me"))["spec"]["leaseTransitions"], 3);
        let released = serde_json::to_value(release(&lease(7, Some("me")))).unwrap();
        assert_eq!(released["spec"]["holderIdentity"], serde_json::Value::Null);
    }
}
