//! Tokens: how they are made, how long they live, and what their holders may do with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::super::upstream::draw;
use super::Inner;
use super::answer::{Refusal, Reply, precise};
use super::request::Asked;
use super::settings::{Grant, TokenKind};
use super::state::State;
use crate::clock::Moment;
use crate::credential::Secret;

/// What a token is made of.
pub(super) const BASE64_URL: &[u8; 64] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Letters and digits; to draw from it is no less random for the two that stand in it twice.
const ALPHANUMERIC: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789Az";

/// A token that was given out.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) serial: u64,
    id: Secret,
    /// A batch token has none.
    pub(super) accessor: String,
    pub(super) display_name: String,
    path: String,
    policies: BTreeSet<String>,
    metadata: BTreeMap<String, String>,
    entity_id: Secret,
    pub(super) grant: Grant,
    issued: Moment,
    created_for: Duration,
    ends: Moment,
    uses: Uses,
    renewed: Option<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Uses {
    Unlimited,
    Left(u32),
    /// The last use is under way.
    Spent,
}

/// Who a login says it is.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) path: String,
    pub(super) display_name: String,
    pub(super) policy: String,
    pub(super) metadata: BTreeMap<String, String>,
}

impl Token {
    fn batch(&self) -> bool {
        self.grant.kind == TokenKind::Batch
    }

    fn renewable(&self) -> bool {
        self.grant.renewable && !self.batch()
    }

    /// Whether this use of it is its last.
    pub(super) fn spent(&self) -> bool {
        self.uses == Uses::Spent
    }

    /// The token's end, or this moment if it comes first.
    pub(super) fn earlier(&self, end: Moment) -> Moment {
        if end.boot < self.ends.boot { end } else { self.ends }
    }

    /// A lease's life: that of a batch token's lease is cut to the token's.
    pub(super) fn cap(&self, ttl: Duration, now: Moment) -> (Duration, Moment) {
        let ttl = if self.batch() { ttl.min(self.ends.remaining(now)) } else { ttl };
        (ttl, now + ttl)
    }

    fn limits(&self, settings: &super::Settings) -> Limits {
        let explicit = self.grant.explicit_max_ttl;
        let max = [self.grant.max_ttl, explicit]
            .into_iter()
            .flatten()
            .fold(settings.max_ttl, Duration::min);
        let period = self.grant.period.map(|period| (period, explicit));
        Limits { max, period }
    }

    /// The `auth` of an answer.
    fn auth(&self, ttl: Duration) -> Value {
        let uses = match self.uses {
            Uses::Left(left) => left,
            Uses::Unlimited | Uses::Spent => 0,
        };
        json!({
            "client_token": self.id.expose(),
            "accessor": self.accessor,
            "policies": self.policies,
            "token_policies": self.policies,
            "metadata": self.metadata,
            "lease_duration": ttl.as_secs(),
            "renewable": self.renewable(),
            "entity_id": self.entity_id.expose(),
            "token_type": self.grant.kind.as_str(),
            "orphan": true,
            "mfa_requirement": null,
            "num_uses": uses,
        })
    }

    /// The `data` of a lookup.
    fn describe(&self, now: Moment) -> Value {
        let mut data = json!({
            "id": self.id.expose(),
            "accessor": self.accessor,
            "policies": self.policies,
            "path": self.path,
            "meta": self.metadata,
            "display_name": self.display_name,
            "num_uses": match self.uses {
                Uses::Unlimited => 0,
                Uses::Left(left) => i64::from(left),
                Uses::Spent => -1,
            },
            "orphan": true,
            "creation_time": self.issued.wall.as_secs(),
            "creation_ttl": self.created_for.as_secs(),
            "expire_time": precise(self.ends.wall),
            "ttl": self.ends.remaining(now).as_secs(),
            "explicit_max_ttl": self.grant.explicit_max_ttl.unwrap_or_default().as_secs(),
            "entity_id": self.entity_id.expose(),
            "type": self.grant.kind.as_str(),
            "renewable": self.renewable(),
            "issue_time": precise(self.issued.wall),
        });
        if let Some(period) = self.grant.period {
            data["period"] = json!(period.as_secs());
        }
        if let Some(renewed) = self.renewed {
            data["last_renewal"] = json!(precise(renewed.wall));
            data["last_renewal_time"] = json!(renewed.wall.as_secs());
        }
        data
    }
}

/// The tokens that live.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    last: u64,
    held: Vec<Token>,
}

impl Tokens {
    pub(super) fn alive(&self, now: Moment) -> impl Iterator<Item = &Token> {
        self.held.iter().filter(move |token| !token.ends.reached(now))
    }

    pub(super) fn by_serial(&self, serial: u64) -> Option<&Token> {
        self.held.iter().find(|token| token.serial == serial)
    }

    fn by_serial_mut(&mut self, serial: u64) -> Option<&mut Token> {
        self.held.iter_mut().find(|token| token.serial == serial)
    }

    /// Counts a use of the token with this id: a copy of it as it is from now on.
    pub(super) fn spend(&mut self, id: &Secret) -> Option<Token> {
        let id = id.expose().as_bytes();
        let token = self.held.iter_mut().find(|token| token.id.matches(id))?;
        token.uses = match token.uses {
            Uses::Unlimited => Uses::Unlimited,
            Uses::Left(left) if left > 1 => Uses::Left(left - 1),
            Uses::Left(_) | Uses::Spent => Uses::Spent,
        };
        Some(token.clone())
    }

    pub(super) fn remove(&mut self, serial: u64) {
        self.held.retain(|token| token.serial != serial);
    }

    pub(super) fn clear(&mut self) {
        self.held.clear();
    }

    pub(super) fn sweep(&mut self, now: Moment) {
        self.held.retain(|token| !token.ends.reached(now));
    }
}

/// How long something may live from its beginning on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max: Duration,
    /// A period by which it is renewed instead, with the life that ends even that.
    pub(super) period: Option<(Duration, Option<Duration>)>,
}

impl Limits {
    /// The life of what began at `started` and is given or renewed for `asked` now, and what is to
    /// be said about it.
    pub(super) fn ttl(
        &self,
        asked: Duration,
        started: Moment,
        now: Moment,
    ) -> Result<(Duration, Vec<String>), Refusal> {
        let mut warnings = Vec::new();
        let (asked, max) = match self.period {
            None => (asked, Some(self.max)),
            Some((period, explicit)) => {
                if period > self.max {
                    warnings.push(format!(
                        "period of {:?} exceeded the effective max_ttl of {:?}; period value is capped accordingly",
                        duration(period),
                        duration(self.max)
                    ));
                }
                (period.min(self.max), explicit)
            }
        };
        let elapsed = now.boot.saturating_sub(started.boot);
        let Some(left) = max.map(|max| max.saturating_sub(elapsed)) else {
            return Ok((asked, warnings));
        };
        if left.is_zero() {
            let text = "past the max TTL, cannot renew";
            return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, text));
        }
        if left < asked {
            warnings.push(format!(
                "TTL of {:?} exceeded the effective max_ttl of {:?}; TTL value is capped accordingly",
                duration(asked),
                duration(left)
            ));
        }
        Ok((asked.min(left), warnings))
    }
}

/// `1h30m`, as Vault writes durations for people.
fn duration(of: Duration) -> String {
    let seconds = of.as_secs();
    let mut text = String::new();
    for (unit, amount) in [("h", seconds / 3_600), ("m", seconds / 60 % 60), ("s", seconds % 60)] {
        if amount > 0 {
            // Writing to a string cannot fail.
            let _ = write!(text, "{amount}{unit}");
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

impl Inner {
    /// Letters and digits at random.
    pub(super) fn letters(&self, length: usize) -> Option<String> {
        draw(&self.random, ALPHANUMERIC, length)
    }

    /// A text that is a secret, made as Vault's tokens are.
    pub(super) fn token_id(&self, kind: TokenKind) -> Option<Secret> {
        // The heads are those of the structures that Vault's tokens encode.
        let (head, length) = match kind {
            TokenKind::Service => ("hvs.CAESI", 86),
            TokenKind::Batch => ("hvb.AAAAAQ", 221),
        };
        Some(Secret::new(format!("{head}{}", draw(&self.random, BASE64_URL, length)?)))
    }

    /// Gives out a token after a login.
    pub(super) fn issue(
        &self,
        state: &mut State,
        holder: Holder,
        grant: Grant,
        now: Moment,
    ) -> Result<Reply, Refusal> {
        let batch = grant.kind == TokenKind::Batch;
        let id = self.token_id(grant.kind);
        let accessor = if batch { Some(String::new()) } else { self.letters(24) };
        state.tokens.last += 1;
        let mut token = Token {
            serial: state.tokens.last,
            id: id.ok_or_else(Refusal::internal)?,
            accessor: accessor.ok_or_else(Refusal::internal)?,
            display_name: holder.display_name,
            path: holder.path,
            policies: BTreeSet::from(["default".to_owned(), holder.policy]),
            entity_id: self.uuid().ok_or_else(Refusal::internal)?,
            metadata: holder.metadata,
            issued: now,
            created_for: grant.ttl,
            ends: now,
            uses: if grant.num_uses == 0 { Uses::Unlimited } else { Uses::Left(grant.num_uses) },
            renewed: None,
            grant,
        };
        let (ttl, warnings) = token.limits(&self.settings).ttl(token.grant.ttl, now, now)?;
        token.created_for = ttl;
        token.ends = now + ttl;
        let reply = Reply::of("", json!(null)).with("auth", token.auth(ttl)).warning(&warnings);
        state.tokens.held.push(token);
        Ok(reply)
    }

    /// `auth/token/lookup-self`.
    pub(super) fn lookup_self(token: &Token, now: Moment) -> Reply {
        Reply::of("token", token.describe(now))
    }

    /// `auth/token/renew-self`.
    pub(super) fn renew_self(
        &self,
        state: &mut State,
        asked: &Asked,
        token: &Token,
        now: Moment,
    ) -> Result<Reply, Refusal> {
        if !asked.writes() {
            // The path would take it, but the policy `default` lets nobody ask so.
            return Err(Refusal::policy());
        }
        if token.spent() {
            return Err(Refusal::bad_request("token not found"));
        }
        if token.batch() {
            return Err(Refusal::bad_request("batch tokens cannot be renewed"));
        }
        if !token.renewable() {
            return Err(Refusal::bad_request("lease is not renewable"));
        }
        let parameters = asked.parameters.as_ref().map_err(Clone::clone)?;
        let increment = parameters.duration("increment")?.filter(|asked| !asked.is_zero());
        let own = increment.unwrap_or(token.grant.ttl);
        let (ttl, warnings) = token.limits(&self.settings).ttl(own, token.issued, now)?;
        let held = state.tokens.by_serial_mut(token.serial).ok_or_else(Refusal::invalid_token)?;
        held.ends = now + ttl;
        held.renewed = Some(now);
        let reply = Reply::of("token", json!(null)).with("auth", held.auth(ttl));
        self.end_with(&state.leases, held);
        Ok(reply.warning(&warnings))
    }

    /// `auth/token/revoke-self`.
    pub(super) fn revoke_self(
        &self,
        state: &mut State,
        asked: &Asked,
        token: &Token,
    ) -> Result<Reply, Refusal> {
        if !asked.writes() {
            // The path would take it, but the policy `default` lets nobody ask so.
            return Err(Refusal::policy());
        }
        if token.batch() {
            return Err(Refusal::bad_request("batch tokens cannot be revoked"));
        }
        let leases = state.revoke(token.serial);
        self.end(&leases);
        Ok(Reply::empty(StatusCode::NO_CONTENT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_vault_writes_them() {
        for (seconds, text) in
            [(0, "0s"), (90, "1m30s"), (3_600, "1h"), (5_400, "1h30m"), (3_601, "1h1s")]
        {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }
}
