//! The leases of secrets, and what may be done with them.

use hyper::StatusCode;
use serde_json::json;

use super::Inner;
use super::answer::{Refusal, Reply};
use super::request::Asked;
use super::state::State;
use super::tokens::{Limits, Token};
use crate::clock::Moment;
use crate::credential::AccessKeyId;

/// A lease.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) id: String,
    /// The token that asked for it, with which it ends.
    pub(super) token: u64,
    pub(super) secret: Leased,
    pub(super) issued: Moment,
    pub(super) ends: Moment,
}

/// What is leased.
#[derive(Debug)]
pub(super) enum Leased {
    /// A user, which is deleted with the lease.
    User(AccessKeyId),
    /// A session, which nobody can end.
    Session,
}

impl Held {
    /// The key that ends with it.
    pub(super) fn key(&self) -> Option<&AccessKeyId> {
        match &self.secret {
            Leased::User(key) => Some(key),
            Leased::Session => None,
        }
    }
}

/// The leases that live.
#[derive(Debug, Default)]
pub(super) struct Leases(Vec<Held>);

impl Leases {
    pub(super) fn hold(&mut self, lease: Held) {
        self.0.push(lease);
    }

    /// Removes leases and gives them back.
    pub(super) fn take(&mut self, which: impl Fn(&Held) -> bool) -> Vec<Held> {
        self.0.extract_if(.., |held| which(held)).collect()
    }

    pub(super) fn of_token(&self, serial: u64) -> impl Iterator<Item = &Held> {
        self.0.iter().filter(move |held| held.token == serial)
    }
}

impl Inner {
    /// `sys/leases/renew`.
    pub(super) fn renew_lease(
        &self,
        state: &mut State,
        asked: &Asked,
        now: Moment,
    ) -> Result<Reply, Refusal> {
        let parameters = asked.parameters.as_ref().map_err(Clone::clone)?;
        let id = lease_id(asked)?;
        let increment = parameters.duration("increment")?;
        let mut leases = state.leases.0.iter_mut();
        let lease = leases
            .find(|held| held.id == id)
            .ok_or_else(|| Refusal::bad_request("lease not found"))?;
        let Leased::User(key) = &lease.secret else {
            return Err(Refusal::bad_request("lease is not renewable"));
        };
        let limits =
            Limits { max: self.settings.max_ttl.min(self.settings.lease.max), period: None };
        let own = increment.unwrap_or(self.settings.lease.ttl);
        let (ttl, warnings) = limits.ttl(own, lease.issued, now)?;
        let (ttl, end) = state
            .tokens
            .by_serial(lease.token)
            .map_or((ttl, now + ttl), |token| token.cap(ttl, now));
        lease.ends = end;
        let ends = state.tokens.by_serial(lease.token).map_or(end, |token| token.earlier(end));
        self.sts.end_key_at(key, Some(ends));
        Ok(Reply::of("system", json!(null))
            .with("lease_id", json!(id))
            .with("renewable", json!(true))
            .with("lease_duration", json!(ttl.as_secs()))
            .warning(&warnings))
    }

    /// `sys/leases/revoke`. What Vault would put in a queue without waiting is done at once.
    pub(super) fn revoke_lease(&self, state: &mut State, asked: &Asked) -> Result<Reply, Refusal> {
        let id = lease_id(asked)?;
        let taken = state.leases.take(|held| held.id == id);
        self.end(&taken);
        let parameters = asked.parameters.as_ref().map_err(Clone::clone)?;
        let waits = parameters.flag("sync", true);
        Ok(Reply::empty(if waits { StatusCode::NO_CONTENT } else { StatusCode::ACCEPTED }))
    }

    /// Lets the keys of a token's leases end no later than the token.
    pub(super) fn end_with(&self, leases: &Leases, token: &Token) {
        for held in leases.of_token(token.serial) {
            if let Some(key) = held.key() {
                self.sts.end_key_at(key, Some(token.earlier(held.ends)));
            }
        }
    }
}

fn lease_id(asked: &Asked) -> Result<&str, Refusal> {
    if !asked.writes() {
        return Err(Refusal::unsupported_operation());
    }
    match asked.parameters.as_ref().map_err(Clone::clone)?.text("lease_id") {
        "" => Err(Refusal::bad_request("lease_id must be specified")),
        id => Ok(id),
    }
}
