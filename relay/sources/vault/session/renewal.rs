//! Renewals: when a read wants them, and in the background where a new login may be impossible.

use std::sync::Arc;
use std::time::Duration;

use serde::de::IgnoredAny;
use serde_json::json;
use tokio::time::sleep;

use super::super::client::{Ask, Call, Operation, Why};
use super::super::errors::{explain, says_invalid_token};
use super::super::login::{context, is_repeatable};
use super::super::wire::seconds;
use super::{Session, Token, Turn};
use crate::clock::Moment;
use crate::metrics::ProfileMetrics;

/// A sleep does not count the time for which a machine is suspended, so the clock is looked at this
/// often.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Vault's own watcher waits so long after the first failure, and twice as long after each more, up
/// to the longest (upstreams section 2).
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);

/// How long to leave renewals alone.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<Moment>,
}

impl Backoff {
    fn failed(&mut self, now: Moment) {
        let wait = FIRST.saturating_mul(1 << self.failures.min(5)).min(LONGEST);
        self.failures += 1;
        self.until = Some(now + wait);
    }

    fn holds(&self, now: Moment) -> bool {
        self.until.is_some_and(|until| !until.reached(now))
    }
}

/// What became of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewed {
    Yes,
    /// It will not be, or there is no such token.
    Refused,
    /// Vault could not be asked, or should not be for now.
    Undecided,
}

impl Renewed {
    pub(super) fn is_undecided(self) -> bool {
        self == Self::Undecided
    }
}

impl Session {
    /// Asks Vault to renew a token.
    pub(super) async fn renew(
        &self,
        token: &Arc<Token>,
        turn: &mut Turn,
        metrics: &ProfileMetrics,
    ) -> Renewed {
        let started = self.clock.now();
        if turn.renewals.holds(started) {
            return Renewed::Undecided;
        }
        if !token.spend() {
            return Renewed::Refused;
        }
        // vaultrs's request says null for an increment that is not wanted.
        let request = Ask::post("auth/token/renew-self".to_owned(), &json!({}));
        let call = Call {
            operation: Operation::RenewToken,
            namespace: &self.client.settings().auth_namespace,
            token: Some(token.secret()),
            secrets: &[],
            metrics,
        };
        let refusal = match self.client.call::<IgnoredAny>(&call, &request).await {
            Ok(answer) => {
                turn.renewals = Backoff::default();
                // Without an answer of use it is not asked again.
                let (life, renewable) =
                    answer.auth.map_or((0, false), |auth| (auth.lease_duration, auth.renewable));
                if life == 0 {
                    token.not_renewable();
                    return Renewed::Refused;
                }
                token.renewed(started, seconds(life), renewable);
                tracing::debug!(ttl_s = life, renewable, "renewed the token of Vault");
                return Renewed::Yes;
            }
            Err(refusal) => refusal,
        };
        let reason = explain(&refusal, &context(&self.client)).reason;
        if says_invalid_token(&refusal) {
            self.forget(token);
            return Renewed::Refused;
        }
        if matches!(refusal.why, Why::Status { status: 400 | 403, .. }) {
            tracing::debug!(
                reason,
                "the token of Vault is not renewable; it is used until its end"
            );
            token.not_renewable();
            return Renewed::Refused;
        }
        turn.renewals.failed(self.clock.now());
        tracing::debug!(reason, "the token of Vault could not be renewed now");
        Renewed::Undecided
    }

    /// Renews the token whenever that is due, where it is worth it. Never ends.
    pub(in crate::sources::vault) async fn keep_alive(&self, metrics: &ProfileMetrics) {
        if is_repeatable(&self.client.settings().login) {
            return std::future::pending().await;
        }
        loop {
            if self.is_renewal_due() {
                // What fails is noted in the turn.
                let _ = self
                    .fly(metrics, |session, mut turn, metrics| async move {
                        session.renew_if_due(&mut turn, &metrics).await;
                    })
                    .await;
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn renew_if_due(&self, turn: &mut Turn, metrics: &ProfileMetrics) {
        // Whoever waited for the turn may have been preceded.
        if let Some(token) = self.current().filter(|_| self.is_renewal_due()) {
            self.renew(&token, turn, metrics).await;
        }
    }

    fn is_renewal_due(&self) -> bool {
        let now = self.clock.now();
        self.current().is_some_and(|token| {
            token.renewable(now) && token.renewal_due().is_some_and(|due| due.reached(now))
        })
    }
}
