//! Users with long-lived keys: the one of the settings, and those that the embedded Vault makes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use hyper::Request;
use ring::rand::SystemRandom;

use super::super::upstream::{BASE32, draw};
use super::answer::{Answer, Refusal};
use super::keys::{BASE64, Caller};
use super::query::Form;
use super::sigv4::Signed;
use super::{Action, Sts, User};
use crate::clock::{Moment, Timestamp};
use crate::credential::{AccessKeyId, Secret};

/// IAM is eventually consistent: how a new key is met at first, with InvalidClientTokenId.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Whether the key is known, for each of its first calls in order; from then on it is.
    Calls(VecDeque<bool>),
    /// The key is unknown for this long.
    Time(Duration),
}

impl Default for Propagation {
    /// Known at once.
    fn default() -> Self {
        Self::failing(0)
    }
}

impl Propagation {
    /// So many calls with a new key fail first.
    pub fn failing(calls: usize) -> Self {
        Self::Calls(std::iter::repeat_n(false, calls).collect())
    }
}

/// The users' keys.
#[derive(Debug)]
pub(super) struct Users(HashMap<String, Held>);

#[derive(Debug)]
struct Held {
    name: String,
    secret: Secret,
    known: Known,
    ends: Option<Moment>,
}

#[derive(Debug)]
enum Known {
    Calls(VecDeque<bool>),
    From(Moment),
}

impl Held {
    fn ended(&self, now: Moment) -> bool {
        self.ends.is_some_and(|end| end.reached(now))
    }
}

impl Users {
    /// The user of the settings, whose keys never end.
    pub(super) fn with(user: &User) -> Self {
        let held = Held {
            name: user.name.clone(),
            secret: user.secret_access_key.clone(),
            known: Known::Calls(VecDeque::new()),
            ends: None,
        };
        Self(HashMap::from([(user.access_key_id.to_string(), held)]))
    }

    /// The user of a key and its secret. The call counts for the key's propagation.
    pub(super) fn find(&mut self, key_id: &str, now: Moment) -> Option<(Caller, Secret)> {
        let held = self.0.get_mut(key_id).filter(|held| !held.ended(now))?;
        let known = match &mut held.known {
            Known::Calls(calls) => calls.pop_front().unwrap_or(true),
            Known::From(moment) => moment.reached(now),
        };
        let caller = Caller::User { name: held.name.clone(), session: false };
        known.then(|| (caller, held.secret.clone()))
    }

    /// Whether a user has any key: its sessions go with its last one.
    pub(super) fn has(&self, name: &str, now: Moment) -> bool {
        self.0.values().any(|held| held.name == name && !held.ended(now))
    }
}

/// New keys of a user.
#[derive(Clone, Debug)]
pub(in crate::dev) struct UserKeys {
    pub(in crate::dev) access_key_id: AccessKeyId,
    pub(in crate::dev) secret_access_key: Secret,
}

/// A new session, as the embedded Vault hands it on.
#[derive(Debug)]
pub(in crate::dev) struct NewSession {
    pub(in crate::dev) access_key_id: AccessKeyId,
    pub(in crate::dev) secret_access_key: Secret,
    pub(in crate::dev) session_token: Secret,
    pub(in crate::dev) expiration: Timestamp,
    /// The ARN of a role's session.
    pub(in crate::dev) arn: Option<String>,
}

/// What the embedded Vault does at AWS. It acts as the user of the settings, within the process:
/// neither faults nor the ledger see it.
impl Sts {
    /// Makes a key for the user of this name, whom the first one makes; `None` without random
    /// numbers.
    pub(in crate::dev) fn create_key(
        &self,
        user: &str,
        propagation: Propagation,
    ) -> Option<UserKeys> {
        let random: &SystemRandom = &self.0.random;
        let keys = UserKeys {
            access_key_id: format!("AKIA{}", draw(random, BASE32, 16)?).parse().ok()?,
            secret_access_key: Secret::new(draw(random, BASE64, 40)?),
        };
        let held = Held {
            name: user.to_owned(),
            secret: keys.secret_access_key.clone(),
            known: match propagation {
                Propagation::Calls(calls) => Known::Calls(calls),
                Propagation::Time(time) => Known::From(self.0.clock.now() + time),
            },
            ends: None,
        };
        self.0.users().0.insert(keys.access_key_id.to_string(), held);
        Some(keys)
    }

    /// Sets when a user's key ends by itself: with its lease, or with its lease's token.
    pub(in crate::dev) fn end_key_at(&self, key: &AccessKeyId, end: Option<Moment>) {
        if let Some(held) = self.0.users().0.get_mut(key.as_str()) {
            held.ends = end;
        }
    }

    /// Whether a user's key is known to a call with it.
    #[cfg(test)]
    pub(in crate::dev) fn knows_key(&self, key_id: &str) -> bool {
        let now = self.0.clock.now();
        self.0.users().find(key_id, now).is_some()
    }

    /// The users that have keys now.
    pub(in crate::dev) fn user_names(&self) -> BTreeSet<String> {
        let now = self.0.clock.now();
        let users = self.0.users();
        let alive = users.0.values().filter(|held| !held.ended(now));
        alive.map(|held| held.name.clone()).collect()
    }

    /// Deletes a user's key.
    pub(in crate::dev) fn delete_key(&self, key: &AccessKeyId) {
        self.0.users().0.remove(key.as_str());
    }

    /// AssumeRole, GetSessionToken or, as any other action, GetFederationToken with the session's
    /// name in `Name`.
    pub(in crate::dev) fn session(
        &self,
        action: Action,
        parameters: &BTreeMap<&str, String>,
    ) -> Result<NewSession, Refusal> {
        let form = Form::of(parameters);
        let user = Caller::User { name: self.0.settings.user.name.clone(), session: false };
        let answer = match action {
            Action::AssumeRole => self.0.assume_role(&form, &user)?.0,
            Action::GetSessionToken => self.0.get_session_token(&form, &user)?.0,
            Action::AssumeRoleWithWebIdentity | Action::GetCallerIdentity | Action::Other => {
                let name = form.get("Name").unwrap_or_default();
                Answer::Session(self.0.federation(&form, name)?)
            }
        };
        let (granted, arn) = match answer {
            Answer::AssumedRole(granted, role) => (granted, Some(role.arn)),
            Answer::Session(granted) => (granted, None),
            Answer::WebIdentity(..) | Answer::Identity { .. } => {
                return Err(Refusal::invalid_token());
            }
        };
        Ok(NewSession {
            access_key_id: granted.keys.access_key_id,
            secret_access_key: granted.keys.secret_access_key,
            session_token: granted.keys.session_token,
            expiration: granted.expiration.unwrap_or(self.0.clock.now().wall),
            arn,
        })
    }

    /// Whose request this is, by its signature, with the body's parameters but not performed.
    pub(in crate::dev) fn identify(
        &self,
        request: Request<bytes::Bytes>,
    ) -> Result<String, Refusal> {
        let (head, body) = request.into_parts();
        let mut form = Form::default();
        let query = match form.read(head.uri.query().unwrap_or_default()) {
            Ok(()) => form.canonical(),
            Err(_) => return Err(super::malformed("the parameters are not a form in UTF-8")),
        };
        let caller = self.0.authenticate(&Signed { head, query, body })?;
        Ok(caller.arn(&self.0.settings.account))
    }
}
