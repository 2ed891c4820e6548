//! The status: a document for the `status` and `rotate` commands, without any secret.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{Configuration, Seen};
use crate::clock::Moment;
use crate::failure::Failure;
use crate::store::{Health, Plan, Sight, Told};

/// All profiles and addresses at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The relay's version.
    pub version: String,
    /// The time of it, RFC 3339.
    pub now: String,
    /// Where applications ask.
    pub endpoint: Vec<SocketAddr>,
    /// Where probes and Prometheus ask.
    pub admin: SocketAddr,
    /// Why the configuration as it stands now is not the one that is used, if it is not.
    #[serde(default)]
    pub configuration_trouble: Option<String>,
    /// Each profile.
    pub profiles: Vec<ProfileStatus>,
}

/// One profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileStatus {
    /// Its name.
    pub name: String,
    /// Where its credentials come from.
    pub origin: String,
    /// Whether something is served.
    pub state: State,
    /// What is served, if anything is.
    pub credential: Option<CredentialStatus>,
    /// What comes next: `fetching since`, `renew at` or `retry at` and a time, or `checking since`
    /// a time and which new key it is that AWS may not know yet.
    pub next: String,
    /// The last attempt's failure, if it failed.
    pub trouble: Option<Trouble>,
}

/// Whether something is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A credential, and its renewal goes well.
    Ready,
    /// A credential, but its renewal fails.
    Failing,
    /// The first fetch has not ended.
    Pending,
    /// Nothing, until AWS knows the new keys that are there.
    Proving,
    /// The credential has ended and its renewal is under way.
    Expired,
    /// Nothing.
    Unavailable,
}

impl State {
    /// As a table shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Failing => "failing",
            Self::Pending => "pending",
            Self::Proving => "proving",
            Self::Expired => "expired",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What may be told of a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialStatus {
    /// The public half of the keys.
    pub access_key_id: String,
    /// The role, if the chain ends in one.
    pub role_arn: Option<String>,
    /// When it ends, RFC 3339; static keys have no end.
    pub expires: Option<String>,
}

impl CredentialStatus {
    fn of(told: &Told) -> Self {
        Self {
            access_key_id: told.access_key_id.to_string(),
            role_arn: told.principal.role().map(ToString::to_string),
            expires: told.validity.expiry().map(|expiry| expiry.wall.to_string()),
        }
    }
}

/// A failure in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// The part of the chain.
    pub stage: String,
    /// The short name of its class.
    pub cause: String,
    /// The upstream's words.
    pub reason: String,
}

impl Trouble {
    /// The words for a failure.
    pub fn of(failure: &Failure) -> Self {
        Self {
            stage: failure.stage.to_string(),
            cause: failure.cause.as_str().to_owned(),
            reason: failure.reason.clone(),
        }
    }
}

/// What came of a rotation that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// The new credential.
    pub credential: CredentialStatus,
}

impl Rotated {
    /// What may be told of the new credential.
    pub fn of(told: &Told) -> Self {
        Self { credential: CredentialStatus::of(told) }
    }
}

impl Status {
    /// The status at `now`.
    pub fn of(seen: &Seen, admin: SocketAddr, now: Moment) -> Self {
        let profiles = seen.profiles.borrow();
        let profiles = profiles.iter().map(|(name, profile)| {
            let plan = profile.state.plan();
            let nothing = |state| match plan {
                Plan::Proving { .. } => State::Proving,
                Plan::Fetching(_) | Plan::Renew(_) | Plan::Retry(_) => state,
            };
            let (state, told, failure) = match profile.state.look(now) {
                Sight::Pending => (nothing(State::Pending), None, None),
                Sight::Expired => (nothing(State::Expired), None, None),
                Sight::Ready(told, Health::Renewing) => (State::Ready, Some(told), None),
                Sight::Ready(told, Health::Failing(failure)) => {
                    (State::Failing, Some(told), Some(failure))
                }
                Sight::Unavailable(failure) => (nothing(State::Unavailable), None, Some(failure)),
            };
            ProfileStatus {
                name: name.to_string(),
                origin: profile.origin.clone(),
                state,
                credential: told.as_ref().map(CredentialStatus::of),
                next: plan.to_string(),
                trouble: failure.as_deref().map(Trouble::of),
            }
        });
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now: now.wall.to_string(),
            endpoint: seen.endpoint.clone(),
            admin,
            configuration_trouble: match &*seen.configuration.borrow() {
                Configuration::InUse => None,
                Configuration::Refused { since, why } => Some(format!("read at {since}: {why}")),
            },
            profiles: profiles.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;
    use crate::credential::fixtures;
    use crate::failure::{Cause, Stage};
    use crate::store::{self, Served};

    const NOW: Moment =
        Moment { wall: Timestamp::from_secs(1_000_000), boot: Duration::from_secs(50) };

    /// One profile, and who tells of it.
    fn one_profile() -> (store::Publisher, impl Fn(Moment) -> ProfileStatus) {
        let (publisher, reader) = store::channel(NOW.wall);
        let seen = Seen::of_one(reader, "vault");
        let status = move |at| Status::of(&seen, ([127, 0, 0, 1], 1).into(), at).profiles.remove(0);
        (publisher, status)
    }

    #[test]
    fn what_is_served_while_its_renewal_fails_is_told_with_the_failure() {
        let (publisher, status) = one_profile();
        let session = fixtures::session(1, NOW, Duration::from_secs(100));
        publisher.publish(Arc::new(Served::new(session, NOW).unwrap()));
        let failure = Failure::new(Cause::Transient, Stage::Relay, "Vault is sealed");
        publisher.report(Arc::new(failure), NOW);
        let failing = status(NOW);
        assert_eq!(failing.state, State::Failing);
        assert_eq!(failing.credential.unwrap().access_key_id, "ASIATESTTESTTES00001");
        assert_eq!(failing.trouble.unwrap().reason, "Vault is sealed");
        let over = status(NOW + Duration::from_secs(90));
        assert_eq!((over.state, over.credential), (State::Unavailable, None));
        assert_eq!(over.trouble.unwrap().reason, "Vault is sealed");
    }

    #[test]
    fn keys_that_are_tried_out_are_a_state_of_their_own_where_nothing_is_served() {
        let (publisher, status) = one_profile();
        let session = |n| fixtures::session(n, NOW, Duration::from_secs(100));
        publisher.plan(Plan::Proving { since: NOW.wall, access_key_id: session(1).access_key_id });
        let words = "AWS does not know the new key yet";
        publisher.report(Arc::new(Failure::new(Cause::StaleCaller, Stage::Relay, words)), NOW);
        let first = status(NOW);
        assert_eq!(first.state, State::Proving);
        assert_eq!(
            first.next,
            "checking since 1970-01-12T13:46:40Z that AWS knows ASIATESTTESTTES00001"
        );
        assert_eq!(first.trouble.unwrap().reason, words);

        publisher.publish(Arc::new(Served::new(session(2), NOW).unwrap()));
        assert_eq!(status(NOW).state, State::Ready, "the old one is served");
        assert_eq!(status(NOW + Duration::from_secs(90)).state, State::Proving);
    }
}
