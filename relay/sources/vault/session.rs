//! A session at Vault: one login and its token, shared by every profile with the same settings.
//!
//! What can be logged in for again is not kept alive in the background: a login when the next read
//! wants it costs Vault less. All times are counted from a request's start.

mod renewal;
#[cfg(all(test, feature = "dev"))]
mod tests;
mod token;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use serde::de::IgnoredAny;
use tokio::sync::{OwnedMutexGuard, watch};
use vaultrs::api::token::requests::RevokeTokenSelfRequest;

use super::client::{Call, Client, Operation};
use super::errors::{explain, fail, says_invalid_token};
use super::login::{Ambient, Authenticator, context, describe, look_up};
use crate::clock::{Clock, Moment};
use crate::failure::{Cause, Failure};
use crate::metrics::ProfileMetrics;
use renewal::Backoff;
pub(super) use token::{End, Grant, Kind, Need, Owner, Token};

/// A login that failed is not tried again for so long at most; who asks meanwhile gets the same
/// failure. Rotation has its own back-off: this one makes many profiles ask once.
const LONGEST_HOLD: Duration = Duration::from_secs(15);

/// Vault before 1.17 refuses a bad token and a policy's want in the same words. A token younger than
/// this, refused even a look at itself, lacks the policy: it is not logged in for again at once.
const YOUNG: Duration = Duration::from_secs(60);

/// One login, its token, and those before it on which leases still hang.
#[derive(Clone, Debug)]
pub(super) struct Session {
    client: Client,
    clock: Clock,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    tokens: Mutex<Tokens>,
    /// Held by whoever logs in, renews or looks up: one flight at a time.
    turn: Arc<tokio::sync::Mutex<Turn>>,
    /// How many tokens were found revoked so far.
    revocations: watch::Sender<u64>,
    /// Whether the login's policies do not let a token look at itself.
    blind: AtomicBool,
}

#[derive(Debug, Default)]
struct Tokens {
    current: Option<Arc<Token>>,
    /// Those before it, as long as a lease holds them: keys hang on them. They are left to their end.
    former: Vec<Weak<Token>>,
}

#[derive(Debug)]
struct Turn {
    authenticator: Authenticator,
    failed: Option<Failed>,
    renewals: Backoff,
}

/// The last login, if it failed.
#[derive(Debug)]
struct Failed {
    failure: Failure,
    in_a_row: u32,
    at: Moment,
}

impl Failed {
    fn told_again(&self, now: Moment) -> Failure {
        let left = (self.at + self.hold()).remaining(now).as_secs() + 1;
        let before = &self.failure;
        let reason =
            format!("{} (the last login said so; the next is made in {left} s)", before.reason);
        Failure { reason, ..before.clone() }
    }

    fn hold(&self) -> Duration {
        Duration::from_secs(1 << self.in_a_row.min(4)).min(LONGEST_HOLD)
    }
}

/// One who waits for revocations, and what it has seen of them.
#[derive(Debug)]
pub(super) struct Watcher(watch::Receiver<u64>);

/// What a 403 was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The token is good: a policy does not allow the call.
    Policy,
    /// The token is none (any longer).
    Token,
    /// It may be either: Vault lets the token not even look at itself, and before 1.17 it has the same
    /// words for both. Another token shows it.
    Unclear,
}

impl Session {
    /// A session that has not logged in yet.
    pub(super) fn new(client: Client, clock: Clock, ambient: Ambient) -> Self {
        let turn = Turn {
            authenticator: Authenticator::new(client.clone(), clock.clone(), ambient),
            failed: None,
            renewals: Backoff::default(),
        };
        let shared = Shared {
            tokens: Mutex::default(),
            turn: Arc::new(tokio::sync::Mutex::new(turn)),
            revocations: watch::Sender::new(0),
            blind: AtomicBool::new(false),
        };
        Self { client, clock, shared: Arc::new(shared) }
    }

    /// The Vault.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Whoever holds leases of tokens asks for one before the first.
    pub(super) fn watcher(&self) -> Watcher {
        Watcher(self.shared.revocations.subscribe())
    }

    /// A token for one read, by a login or a renewal where that must be. One flight at a time, which
    /// goes on when whoever asked for it is gone: a secret id may be good for one login.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn token(
        &self,
        need: Need,
        metrics: &ProfileMetrics,
    ) -> Result<Arc<Token>, Failure> {
        if let Some(token) = self.ready(need) {
            return Ok(token);
        }
        self.fly(metrics, move |session, mut turn, metrics| async move {
            session.obtain(need, &mut turn, &metrics).await
        })
        .await?
    }

    /// Runs something alone, to its end.
    async fn fly<T, F>(
        &self,
        metrics: &ProfileMetrics,
        flight: impl FnOnce(Self, OwnedMutexGuard<Turn>, ProfileMetrics) -> F,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        // Whoever waits for a turn may go at any time; only what has begun goes on.
        let turn = Arc::clone(&self.shared.turn).lock_owned().await;
        let flight = tokio::spawn(flight(self.clone(), turn, metrics.clone()));
        flight.await.map_err(|_| {
            fail(
                Cause::Internal,
                "the login panicked, which is a bug of the relay; the log says where",
            )
        })
    }

    async fn obtain(
        &self,
        need: Need,
        turn: &mut Turn,
        metrics: &ProfileMetrics,
    ) -> Result<Arc<Token>, Failure> {
        // Somebody else may have seen to it meanwhile.
        if let Some(token) = self.ready(need) {
            return Ok(token);
        }
        if let Some(token) = self.current().filter(|token| token.renewable(self.clock.now())) {
            let renewed = self.renew(&token, turn, metrics).await;
            // A renewal that may succeed later leaves the token as it is.
            let need = if renewed.is_undecided() { Need::Read } else { need };
            if let Some(token) = self.ready(need) {
                return Ok(token);
            }
        }
        match self.log_in(turn, metrics).await {
            Ok(token) if token.spend() => Ok(token),
            Ok(_) => Err(fail(
                Cause::Misconfigured,
                "the login gives a token that may be used once, and with its last use Vault gives no secret; set token_num_uses of the role to 0",
            )
            .advised("token", "set token_num_uses=0 on the login's role")),
            Err(failure) => match self.ready(Need::Read) {
                Some(token) => {
                    tracing::warn!(
                        reason = failure.reason,
                        "no new login to Vault; the present token is used on, though what is read \
                         may outlive it"
                    );
                    Ok(token)
                }
                None => Err(failure),
            },
        }
    }

    async fn log_in(
        &self,
        turn: &mut Turn,
        metrics: &ProfileMetrics,
    ) -> Result<Arc<Token>, Failure> {
        let now = self.clock.now();
        if let Some(failed) = &turn.failed
            && !(failed.at + failed.hold()).reached(now)
        {
            return Err(failed.told_again(now));
        }
        match turn.authenticator.log_in(metrics).await {
            Ok(grant) => {
                turn.failed = None;
                turn.renewals = Backoff::default();
                Ok(self.take(&grant, metrics))
            }
            Err(failure) => {
                let in_a_row = turn.failed.as_ref().map_or(0, |failed| failed.in_a_row) + 1;
                let at = self.clock.now();
                turn.failed = Some(Failed { failure: failure.clone(), in_a_row, at });
                Err(failure)
            }
        }
    }

    /// Makes a token that was granted or looked up the current one.
    fn take(&self, grant: &Grant, metrics: &ProfileMetrics) -> Arc<Token> {
        let mut tokens = self.tokens();
        if let Some(same) = tokens.current.as_ref().filter(|token| token.is(grant)) {
            same.learn(grant);
            return Arc::clone(same);
        }
        let (method, mount, role) = describe(&self.client.settings().login);
        let ttl_s = grant.life.map_or_else(|| "none".to_owned(), |life| life.as_secs().to_string());
        let (renewable, kind) = (grant.renewable, grant.kind.as_str());
        tracing::info!(method, mount, role, ttl_s, renewable, kind, "logged in to Vault");
        let token = Arc::new(Token::new(grant, metrics.clone()));
        if let Some(former) = tokens.current.replace(Arc::clone(&token)) {
            tokens.former.retain(|token| token.strong_count() > 0);
            tokens.former.push(Arc::downgrade(&former));
        }
        token
    }

    /// Vault refused a call with 403. Says whether the token is bad; if it is, it is forgotten and
    /// all who hold leases of it are told. `certainly` where Vault said so itself.
    ///
    /// # Errors
    /// If Vault could not be asked.
    pub(super) async fn refused(
        &self,
        token: &Arc<Token>,
        certainly: bool,
        metrics: &ProfileMetrics,
    ) -> Result<Verdict, Failure> {
        if token.is_revoked() {
            return Ok(Verdict::Token);
        }
        if certainly {
            self.forget(token);
            return Ok(Verdict::Token);
        }
        let token = Arc::clone(token);
        self.fly(metrics, move |session, turn, metrics| async move {
            let verdict = session.judge(&token, &metrics).await;
            drop(turn);
            verdict
        })
        .await?
    }

    async fn judge(
        &self,
        token: &Arc<Token>,
        metrics: &ProfileMetrics,
    ) -> Result<Verdict, Failure> {
        if token.is_revoked() {
            return Ok(Verdict::Token);
        }
        if !token.spend() {
            // It can't be asked any more, nor used for anything else.
            self.drop_current(token);
            return Ok(Verdict::Token);
        }
        let Err(refusal) = look_up(&self.client, &self.clock, token.secret(), metrics).await else {
            return Ok(Verdict::Policy);
        };
        if !refusal.is_forbidden() {
            return Err(explain(&refusal, &context(&self.client)));
        }
        if says_invalid_token(&refusal) {
            self.forget(token);
            return Ok(Verdict::Token);
        }
        let blind = self.shared.blind.load(Ordering::Relaxed);
        if blind || token.is_younger_than(YOUNG, self.clock.now()) {
            return Ok(Verdict::Policy);
        }
        self.drop_current(token);
        Ok(Verdict::Unclear)
    }

    /// What another token showed where it was unclear whether `token` is bad: that one did no better,
    /// or it did.
    pub(super) fn settle(&self, token: &Arc<Token>, same: bool) {
        if same {
            // It is the policy, which does not let the token look at itself either: that is not tried
            // out again, as each time takes a login.
            self.shared.blind.store(true, Ordering::Relaxed);
        } else {
            self.forget(token);
        }
    }

    /// A token is none any longer.
    fn forget(&self, token: &Arc<Token>) {
        self.drop_current(token);
        let known = token.is_revoked();
        let early = token.dead(self.clock.now());
        if early && !known {
            tracing::warn!(
                address = %self.client.settings().address,
                "Vault no longer knows a token before its end: it was revoked, or Vault lost it. \
                 Keys that were leased with it may have died with it"
            );
            self.shared.revocations.send_modify(|count| *count += 1);
        }
    }

    fn drop_current(&self, token: &Arc<Token>) {
        let mut tokens = self.tokens();
        if tokens.current.as_ref().is_some_and(|current| Arc::ptr_eq(current, token)) {
            tokens.current = None;
            tokens.former.retain(|token| token.strong_count() > 0);
            tokens.former.push(Arc::downgrade(token));
        }
    }

    /// Keeps the session alive where a new login may not be possible, and returns once a token was
    /// found revoked that the watcher has not been told of.
    pub(super) async fn revoked(&self, watcher: &mut Watcher, metrics: &ProfileMetrics) {
        tokio::select! {
            // The sender lives as long as this session.
            _ = watcher.0.changed() => {}
            () = self.keep_alive(metrics) => {}
        }
    }

    /// Revokes every token that the relay logged in for, and with them their leases. The caller
    /// bounds it.
    pub(super) async fn end(&self) {
        let tokens: Vec<_> = {
            let tokens = self.tokens();
            let former = tokens.former.iter().filter_map(Weak::upgrade);
            former.chain(tokens.current.clone()).collect()
        };
        let now = self.clock.now();
        let tokens = tokens.into_iter().filter(|token| token.is_to_be_revoked(now));
        join_all(tokens.map(|token| self.revoke(token))).await;
    }

    async fn revoke(&self, token: Arc<Token>) {
        let request = RevokeTokenSelfRequest {};
        let call = Call {
            operation: Operation::RevokeToken,
            namespace: &self.client.settings().auth_namespace,
            token: Some(token.secret()),
            secrets: &[],
            metrics: token.metrics(),
        };
        match self.client.call::<IgnoredAny>(&call, &request).await {
            Ok(_) => tracing::debug!("revoked a token of Vault's"),
            Err(refusal) => {
                let failure = explain(&refusal, &context(&self.client));
                tracing::warn!(reason = failure.reason, "a token of Vault's could not be revoked");
            }
        }
    }

    /// The current token, if it serves as it is; one of its uses is counted.
    fn ready(&self, need: Need) -> Option<Arc<Token>> {
        let now = self.clock.now();
        self.current().filter(|token| token.serves(need, now) && token.spend())
    }

    fn current(&self) -> Option<Arc<Token>> {
        self.tokens().current.clone()
    }

    fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.shared.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
