//! The actions themselves: who may have which session, and for how long.

use std::time::Duration;

use hyper::StatusCode;

use super::answer::{Answer, AssumedRole, Granted, Refusal};
use super::keys::{Caller, Issued, RoleSession, Tags, unique_id};
use super::ledger::{Assumption, Outcome};
use super::query::Form;
use super::request::{AssumeRole, session_token_duration};
use super::{Inner, IssuedLifetime};

/// The longest life of a session that another role's session asked for.
const LONGEST_CHAINED: Duration = Duration::from_secs(3_600);

impl Inner {
    pub(super) fn assume_role(
        &self,
        form: &Form,
        caller: &Caller,
    ) -> Result<(Answer, Outcome), Refusal> {
        let request = AssumeRole::read(form)?;
        self.check_trust(&request, caller)?;
        check_chain(&request, caller)?;

        let (mut tags, mut transitive) = (request.tags.clone(), Tags::new());
        let mut source_identity = request.source_identity.clone();
        if let Caller::Role(before) = caller {
            transitive.clone_from(&before.transitive_tags);
            tags.extend(before.transitive_tags.clone());
            source_identity = before.source_identity.clone().or(source_identity);
        }
        let packed = request.packed_percent(&tags)?;
        let handed_on = |(key, _): &(&String, _)| request.transitive.contains(*key);
        let added = request.tags.iter().filter(handed_on);
        transitive.extend(added.map(|(key, tag)| (key.clone(), tag.clone())));

        let session = RoleSession {
            role: request.role,
            name: request.session_name,
            transitive_tags: transitive,
            source_identity,
        };
        let (granted, role, outcome) = self.give(session, request.duration, tags, packed)?;
        Ok((Answer::AssumedRole(granted, role), outcome))
    }

    /// Gives a session of a role, with these tags; `packed` is what its policies and tags take.
    pub(super) fn give(
        &self,
        session: RoleSession,
        duration: Duration,
        tags: Tags,
        packed: Option<u64>,
    ) -> Result<(Granted, AssumedRole, Outcome), Refusal> {
        let (id, arn) = (session.id(), session.arn());
        let RoleSession { role, name, source_identity, .. } = session.clone();
        let (granted, lifetime) = self.grant(Caller::Role(session), duration)?;
        tracing::debug!(
            access_key_id = %granted.keys.access_key_id,
            role = %role,
            lifetime_seconds = lifetime.as_secs(),
            "issued a session of a role"
        );
        let outcome = Outcome::Assumed(Box::new(Assumption {
            role,
            session_name: name,
            access_key_id: granted.keys.access_key_id.clone(),
            lifetime,
            tags: tags.into_values().collect(),
            source_identity: source_identity.clone(),
        }));
        Ok((granted, AssumedRole { id, arn, packed, source_identity }, outcome))
    }

    pub(super) fn get_session_token(
        &self,
        form: &Form,
        caller: &Caller,
    ) -> Result<(Answer, Outcome), Refusal> {
        let Caller::User { name, session: false } = caller else {
            return Err(Refusal::forbidden(
                "AccessDenied",
                "Cannot call GetSessionToken with session credentials",
            ));
        };
        let duration = session_token_duration(form)?;
        let (granted, lifetime) =
            self.grant(Caller::User { name: name.clone(), session: true }, duration)?;
        tracing::debug!(
            access_key_id = %granted.keys.access_key_id,
            lifetime_seconds = lifetime.as_secs(),
            "issued a session of the user"
        );
        Ok((Answer::Session(granted), Outcome::Answered))
    }

    pub(super) fn get_caller_identity(&self, caller: &Caller) -> (Answer, Outcome) {
        let arn = caller.arn(&self.settings.account);
        let (user_id, account) = match caller {
            Caller::User { .. } => (unique_id("AIDA", &arn), &self.settings.account),
            Caller::Federated { name } => {
                (format!("{}:{name}", self.settings.account), &self.settings.account)
            }
            Caller::Role(session) => (session.id(), session.role.account()),
        };
        let account = account.to_string();
        let answer = Answer::Identity { user_id, account, arn };
        (answer, Outcome::Answered)
    }

    /// A session as GetFederationToken gives it, for the user that the embedded Vault is.
    pub(super) fn federation(&self, form: &Form, name: &str) -> Result<Granted, Refusal> {
        let duration = session_token_duration(form)?;
        self.grant(Caller::Federated { name: name.to_owned() }, duration)
            .map(|(granted, _)| granted)
    }

    /// Whether the role lets itself be assumed: only an external id can keep a caller out, unless
    /// it is one that may assume nothing.
    fn check_trust(&self, request: &AssumeRole, caller: &Caller) -> Result<(), Refusal> {
        let wanted = self.settings.external_ids.get(&request.role);
        let known = wanted.is_none() || request.external_id.as_ref() == wanted;
        if known && !matches!(caller, Caller::Federated { .. }) {
            return Ok(());
        }
        let caller = caller.arn(&self.settings.account);
        Err(Refusal::access_denied(&caller, "AssumeRole", request.role.as_str()))
    }

    fn grant(&self, caller: Caller, asked: Duration) -> Result<(Granted, Duration), Refusal> {
        let lifetime = match self.settings.lifetime {
            IssuedLifetime::AsAsked => asked,
            IssuedLifetime::AtMost(most) => asked.min(most),
        };
        let keys = Issued::draw(&self.random).ok_or_else(|| {
            Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalFailure",
                "no random numbers to make keys of",
            )
        })?;
        let now = self.clock.now();
        let expiry = now + lifetime;
        self.sessions().hold(keys.clone(), caller, expiry, now);
        let granted = Granted { keys, expiration: Some(expiry.wall) };
        Ok((granted, lifetime))
    }
}

/// What a session of a role may not ask for, or may not change.
fn check_chain(request: &AssumeRole, caller: &Caller) -> Result<(), Refusal> {
    let Caller::Role(before) = caller else {
        return Ok(());
    };
    if request.duration > LONGEST_CHAINED {
        return Err(Refusal::validation(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
        ));
    }
    let mut keys = request.tags.keys();
    if keys.any(|key| before.transitive_tags.contains_key(key)) {
        return Err(Refusal::bad_request(
            "InvalidParameterValue",
            "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.",
        ));
    }
    match (&before.source_identity, &request.source_identity) {
        (Some(set), Some(asked)) if set != asked => Err(Refusal::validation(
            "The source identity is already set for this assume role session",
        )),
        _ => Ok(()),
    }
}
