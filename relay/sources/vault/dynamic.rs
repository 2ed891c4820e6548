//! A role that makes credentials at each read: users of IAM with a lease, or sessions of STS.
//!
//! A user's keys live as long as their lease and no longer than the token that they were read with
//! (upstreams section 1). So the expiry that is told is the earlier of both, as they stand at that
//! moment: what was promised never needs a renewal to come true. While renewing brings enough, the
//! same keys are given out again with a later expiry, and no other user is made.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::client::{Ask, Operation};
use super::errors::fail;
use super::leases::Holder;
use super::making::Making;
use super::reader::{Read, Reader};
use super::session::{Need, Token, Watcher};
use super::user::{Lease, Renewed, User, renew, until};
use super::wire::{Answer, Keys, seconds};
use crate::arn::RoleArn;
use crate::clock::Moment;
use crate::config::values::{SessionName, VaultName, VaultPath};
use crate::config::vault::{CredentialType, DeclaredType};
use crate::credential::{
    AccessKeyId, Credential, KeyIdError, Lifetime, Principal, Propagation, Session, Validity,
};
use crate::failure::{Cause, Failure};
use crate::sources::{Fetch, Freshness, Source, Suspect};

/// What is assumed of a life that an answer says nothing of: the shortest that STS grants.
const UNSAID: Duration = Duration::from_secs(900);

/// What is refused is looked at again so often: somebody may have mended the role.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

/// An answer has this much of a life for every client if it lives longer (endpoint-contract
/// section 5).
const COMFORTABLE: Duration = Duration::from_secs(3000);

/// What follows the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It is what is served.
    Served,
    /// Roles are assumed from it.
    Chained,
}

/// What is asked for.
pub(super) struct Role {
    pub(super) mount: VaultPath,
    pub(super) name: VaultName,
    pub(super) ttl: Option<Duration>,
    pub(super) role_arn: Option<RoleArn>,
    pub(super) session_name: Option<SessionName>,
    pub(super) declared: DeclaredType,
    pub(super) used: Use,
}

/// The source.
pub(super) struct Dynamic {
    reader: Reader,
    role: Role,
    held: Held,
    /// What the role gave last, where that was seen.
    seen: DeclaredType,
    making: Making,
    /// Since when what is held is refused.
    refused: Option<Moment>,
    /// Users whose keys somebody may still hold.
    users: Vec<Known>,
    revocations: Watcher,
    told: Told,
}

/// What the last read gave.
enum Held {
    Nothing,
    /// A session of STS, which stands for itself.
    Session(CredentialType),
    User(Box<User>),
}

/// Keys and the token that they die with.
struct Known {
    key: AccessKeyId,
    token: Arc<Token>,
    end: Moment,
}

/// Warnings that are given once.
#[derive(Default)]
struct Told {
    no_life: bool,
    short_life: bool,
}

impl Dynamic {
    pub(super) fn new(reader: Reader, role: Role) -> Self {
        let revocations = reader.session.watcher();
        Self {
            seen: role.declared,
            reader,
            role,
            held: Held::Nothing,
            making: Making::Known,
            refused: None,
            users: Vec::new(),
            revocations,
            told: Told::default(),
        }
    }

    async fn give(&mut self, freshness: Freshness) -> Result<Credential, Failure> {
        // Others than those that are refused would be refused too.
        if freshness == Freshness::Anew && self.refused.is_none() {
            self.held = Held::Nothing;
        }
        let credential = match self.extend().await? {
            Some(same) => same,
            None => self.make().await?,
        };
        match self.check_type() {
            Ok(()) => {
                self.refused = None;
                Ok(credential)
            }
            Err(failure) => {
                self.refuse();
                Err(failure)
            }
        }
    }

    /// Keeps what is refused for a while, so that no other is made only to be refused; then the role
    /// may have been mended.
    fn refuse(&mut self) {
        let now = self.reader.clock.now();
        let since = *self.refused.get_or_insert(now);
        if (since + LOOK_AGAIN).reached(now) {
            (self.held, self.refused) = (Held::Nothing, None);
        }
    }

    /// The same user's keys with a later expiry, while that is worth it. None where a new user is.
    async fn extend(&mut self) -> Result<Option<Credential>, Failure> {
        let Held::User(user) = &mut self.held else {
            return Ok(None);
        };
        if user.token.is_revoked() {
            return Ok(None);
        }
        let reader = &self.reader;
        let token = reader.session.token(Need::Outlive(user.nominal), &reader.metrics).await?;
        if !Arc::ptr_eq(&token, &user.token) {
            // The keys end with the token from before.
            return Ok(None);
        }
        let now = reader.clock.now();
        let enough = user.nominal.mul_f64(0.9);
        if user.lease.renewable && user.end().remaining(now) < enough {
            match renew(reader, user).await? {
                Renewed::Until(end) => user.lease.end = end,
                Renewed::Not => user.lease.renewable = false,
            }
        }
        let end = user.end();
        // What is left when the schedule asks is half of a life: less than this gains nothing. Where
        // it is the token that ends, and no other is to be had, another user would end with it too.
        let worth_it = end.remaining(now) >= user.nominal.mul_f64(0.75);
        if !worth_it && (!user.ends_with_token() || end.reached(now)) {
            return Ok(None);
        }
        user.credential.validity = until(now, end);
        let credential = user.credential.clone();
        self.note();
        Ok(Some(credential))
    }

    /// Has Vault make new credentials.
    async fn make(&mut self) -> Result<Credential, Failure> {
        if self.may_make_users()
            && let Err(wait) = self.making.begin(self.reader.clock.now())
        {
            return Err(fail(
                Cause::Throttled { retry_after: Some(wait) },
                "a read before this one had no answer and may have made an IAM user: waiting so that no other is made",
            ));
        }
        let question = self.question();
        let read = self.reader.read(self.need(), Operation::ReadCredentials, &question).await;
        let taken = match read {
            Ok(Ok(read)) => self.take(read),
            Ok(Err(refusal)) => {
                let failure = self.reader.explain(&refusal);
                if refusal.may_have_been_carried_out() && self.may_make_users() {
                    self.making.lost(self.reader.clock.now());
                } else {
                    self.making.known();
                }
                return Err(failure);
            }
            Err(failure) => {
                // There was no token to read with.
                self.making.known();
                return Err(failure);
            }
        };
        match &taken {
            Ok(_) => self.making.known(),
            Err(_) if self.may_make_users() => self.making.lost(self.reader.clock.now()),
            Err(_) => {}
        }
        taken
    }

    fn may_make_users(&self) -> bool {
        matches!(self.seen, DeclaredType::Unsaid | DeclaredType::Said(CredentialType::IamUser))
    }

    /// How long the token should live: a user's keys die with it.
    fn need(&self) -> Need {
        match (&self.held, self.seen) {
            (Held::User(user), _) => Need::Outlive(user.lease.duration),
            (_, DeclaredType::Said(CredentialType::IamUser)) => Need::Outlive(Duration::MAX),
            _ => Need::Read,
        }
    }

    fn question(&self) -> Ask {
        let Role { mount, name, ttl, role_arn, session_name, .. } = &self.role;
        let mut body = Map::new();
        let mut set = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                body.insert(key.to_owned(), Value::String(value));
            }
        };
        set("ttl", ttl.map(|ttl| format!("{}s", ttl.as_secs())));
        set("role_arn", role_arn.as_ref().map(ToString::to_string));
        set("role_session_name", session_name.as_ref().map(ToString::to_string));
        Ask::post(format!("{mount}/creds/{name}"), &Value::Object(body))
    }

    fn take(&mut self, read: Read<Keys>) -> Result<Credential, Failure> {
        let Read { answer, token, started } = read;
        let Answer { lease_id, lease_duration, renewable, data, .. } = answer;
        let garbage = |what: &str| fail(Cause::Transient, format!("Vault's answer has {what}"));
        let keys = data.ok_or_else(|| garbage("no data"))?;
        let access_key_id = keys.access_key.trim().parse().map_err(|error: KeyIdError| {
            garbage(&format!("an access_key that cannot be right: {error}"))
        })?;
        let kind = type_of(&keys);
        (self.seen, self.refused) = (DeclaredType::Said(kind), None);
        let life = self.life(&keys, lease_duration);
        let session = Session::of(keys.session_token);
        let mut credential = Credential {
            access_key_id,
            secret_access_key: keys.secret_key,
            session,
            validity: Validity::Until(Lifetime::from_request(started, life, None)),
            principal: self.role.role_arn.clone().map_or(Principal::Unknown, Principal::Role),
            propagation: Propagation::Done,
        };
        if kind != CredentialType::IamUser {
            if let Some(granted) = keys.ttl.filter(|ttl| *ttl > 0).map(seconds) {
                let end = started.wall + granted;
                let asked = self.role.ttl.unwrap_or(granted);
                let near = asked.abs_diff(granted) <= Duration::from_secs(30);
                let nominal = if near { asked } else { granted };
                credential.validity =
                    Validity::Until(Lifetime::from_request(started, nominal, Some(end)));
            }
            self.held = Held::Session(kind);
            self.warn_of_short_life(life, "the role's ttl");
            return Ok(credential);
        }
        credential.propagation = Propagation::Pending;
        credential.principal = Principal::Unknown;
        let lease = Lease { id: lease_id.into(), end: started + life, duration: life, renewable };
        let mut user = User { credential, lease, token, nominal: life };
        let end = user.end();
        user.nominal = end.remaining(started);
        user.credential.validity = until(started, end);
        let limit = if user.nominal < life { "the Vault token's ttl" } else { "the lease" };
        self.warn_of_short_life(user.nominal, limit);
        let credential = user.credential.clone();
        self.held = Held::User(Box::new(user));
        self.note();
        Ok(credential)
    }

    /// How long an answer says that it lives; `data.ttl` is what STS granted, so it comes first.
    fn life(&mut self, keys: &Keys, lease_duration: u64) -> Duration {
        let said = keys.ttl.filter(|ttl| *ttl > 0).unwrap_or(lease_duration);
        if said > 0 {
            return seconds(said);
        }
        if !std::mem::replace(&mut self.told.no_life, true) {
            tracing::warn!(
                role = %self.role.name,
                assumed_s = UNSAID.as_secs(),
                "Vault's answer says neither ttl nor lease_duration; assuming the shortest that STS grants"
            );
        }
        UNSAID
    }

    fn warn_of_short_life(&mut self, life: Duration, limit: &str) {
        if life < COMFORTABLE && !std::mem::replace(&mut self.told.short_life, true) {
            tracing::warn!(
                role = %self.role.name,
                life_s = life.as_secs(),
                limit,
                "credentials live for less than 50 minutes, so that clients ask more often and Vault is asked more often; raise what limits them"
            );
        }
    }

    /// Refuses what is not as the operator said, or of no use. It is held all the same, so that no
    /// other is made only to be refused again.
    fn check_type(&self) -> Result<(), Failure> {
        let found = match &self.held {
            Held::Nothing => return Ok(()),
            Held::Session(kind) => *kind,
            Held::User(_) => CredentialType::IamUser,
        };
        let role = format!("{}/{}", self.role.mount, self.role.name);
        if let DeclaredType::Said(said) = self.role.declared
            && said != found
        {
            return Err(fail(
                Cause::Misconfigured,
                format!(
                    "the role {role} gives {found}, and credential_type says {said}; let them agree"
                ),
            )
            .advised(
                "Vault role",
                "set credential_type to what the role gives, or name another role",
            ));
        }
        if found == CredentialType::FederationToken && self.role.used == Use::Chained {
            return Err(fail(
                Cause::Misconfigured,
                format!("the role {role} gives a federation_token, which may assume no role"),
            )
            .advised("Vault role", "remove the chain, or name a role of another credential_type"));
        }
        Ok(())
    }

    /// Notes the present user where the end of the relay and suspicions look.
    fn note(&mut self) {
        let Held::User(user) = &self.held else { return };
        let reader = &self.reader;
        let now = reader.clock.now();
        let holder = Holder {
            session: &reader.session,
            token: &user.token,
            namespace: &reader.namespace,
            metrics: &reader.metrics,
        };
        reader.leases.note(&user.lease.id, user.lease.end, &holder, now);
        let key = user.credential.access_key_id.clone();
        self.users.retain(|known| known.key != key && !known.end.reached(now));
        let (token, end) = (Arc::clone(&user.token), user.lease.end);
        self.users.push(Known { key, token, end });
    }

    async fn find_suspect(&mut self) -> AccessKeyId {
        loop {
            let revoked = self.users.iter().position(|known| known.token.is_revoked());
            if let Some(place) = revoked {
                return self.users.swap_remove(place).key;
            }
            let Self { reader, revocations, .. } = self;
            reader.session.revoked(revocations, &reader.metrics).await;
        }
    }
}

/// What the fields say of the kind: the table of upstreams section 1.
fn type_of(keys: &Keys) -> CredentialType {
    let session = keys.session_token.as_ref().is_some_and(|token| !token.is_empty());
    match (session, &keys.arn, &keys.security_token) {
        (false, _, _) => CredentialType::IamUser,
        (true, Some(_), _) => CredentialType::AssumedRole,
        (true, None, Some(_)) => CredentialType::FederationToken,
        (true, None, None) => CredentialType::SessionToken,
    }
}

impl Source for Dynamic {
    fn kind(&self) -> &'static str {
        "vault"
    }

    fn fetch(&mut self, freshness: Freshness) -> Fetch<'_> {
        Box::pin(self.give(freshness))
    }

    fn suspect(&mut self) -> Suspect<'_> {
        Box::pin(self.find_suspect())
    }
}
