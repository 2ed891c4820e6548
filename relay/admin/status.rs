//! The status: a document for the `status` and `rotate` commands, without any secret.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Profiles;
use crate::clock::Moment;
use crate::credential::{Credential, Principal, Validity};
use crate::failure::Failure;
use crate::store::{Health, Plan, Served, View};

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
    fn of(credential: &Credential) -> Self {
        Self {
            access_key_id: credential.access_key_id.to_string(),
            role_arn: match &credential.principal {
                Principal::Role(arn) => Some(arn.to_string()),
                Principal::Account(_) | Principal::Unknown => None,
            },
            expires: match &credential.validity {
                Validity::Until(life) => Some(life.expiry().wall.to_string()),
                Validity::Unlimited => None,
            },
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
    pub fn of(served: &Served) -> Self {
        Self { credential: CredentialStatus::of(served.credential()) }
    }
}

impl Status {
    /// The status at `now`.
    pub fn of(
        profiles: &Profiles,
        endpoint: &[SocketAddr],
        admin: SocketAddr,
        now: Moment,
    ) -> Self {
        let profiles = profiles.iter().map(|(name, profile)| {
            let snapshot = profile.reader.borrow();
            let plan = profile.reader.plan();
            let nothing = |state| match plan {
                Plan::Proving { .. } => State::Proving,
                Plan::Fetching(_) | Plan::Renew(_) | Plan::Retry(_) => state,
            };
            let (state, served, failure) = match snapshot.view(now) {
                View::Pending => (nothing(State::Pending), None, None),
                View::Expired => (nothing(State::Expired), None, None),
                View::Ready(served, Health::Renewing) => (State::Ready, Some(served), None),
                View::Ready(served, Health::Failing(failure)) => {
                    (State::Failing, Some(served), Some(failure))
                }
                View::Unavailable(failure) => (nothing(State::Unavailable), None, Some(failure)),
            };
            ProfileStatus {
                name: name.to_string(),
                origin: profile.origin.clone(),
                state,
                credential: served.map(|served| CredentialStatus::of(served.credential())),
                next: plan.to_string(),
                trouble: failure.map(|failure| Trouble::of(failure)),
            }
        });
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now: now.wall.to_string(),
            endpoint: endpoint.to_vec(),
            admin,
            profiles: profiles.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::Profile;
    use super::*;
    use crate::clock::Timestamp;
    use crate::credential::fixtures;
    use crate::failure::{Cause, Stage};
    use crate::store;

    const NOW: Moment =
        Moment { wall: Timestamp::from_secs(1_000_000), boot: Duration::from_secs(50) };

    #[test]
    fn keys_that_are_tried_out_are_a_state_of_their_own_where_nothing_is_served() {
        let (publisher, reader) = store::channel(NOW.wall);
        let profiles: Profiles =
            [("a".parse().unwrap(), Profile::new(reader, "vault".to_owned()))].into();
        let status = |at| {
            let address = ([127, 0, 0, 1], 1).into();
            Status::of(&profiles, &[], address, at).profiles.remove(0)
        };
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
