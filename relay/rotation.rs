//! Rotation: the loop that fetches, checks, publishes, waits and retries; one for each profile.

pub mod backoff;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::clock::{Clock, Moment};
use crate::config::LongLivedKeys;
use crate::config::values::ProfileName;
use crate::credential::{Credential, Session, Validity};
use crate::failure::{Cause, Failure, Stage};
use crate::metrics::ProfileMetrics;
use crate::sources::{Freshness, Source};
use crate::store::{Plan, Publisher, Rotated, Served, Snapshot, View};

use crate::schedule::{self, Draw};
use backoff::Backoff;

/// A sleep does not count the time for which a machine is suspended, so the clock is looked at
/// this often. A client that asks sooner after a resume is held or answered 503, never served an
/// expired credential.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A failing renewal is tried at least once more when this much is left (upstreams section 6).
const LAST_CALL: Duration = Duration::from_secs(60);

/// The rotation of one profile.
pub struct Rotation {
    /// The profile that it serves.
    pub profile: ProfileName,
    /// Where its credentials come from: a chain, or a source alone.
    pub source: Box<dyn Source>,
    /// What to do with keys that no session token or no expiry goes with.
    pub long_lived_keys: LongLivedKeys,
    /// Where they go.
    pub publisher: Publisher,
    /// The time.
    pub clock: Clock,
    /// Its metrics.
    pub metrics: ProfileMetrics,
    /// One attempt, with every hop of it, takes at most this long.
    pub attempt_timeout: Duration,
}

/// Why a wait ended.
enum Woken {
    Due,
    Asked(Vec<oneshot::Sender<Rotated>>),
}

impl Rotation {
    /// Fetches, publishes and waits, for ever: the caller drops it.
    pub async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut woken = Woken::Due;
        loop {
            let freshness = match woken {
                Woken::Due => Freshness::Reuse,
                Woken::Asked(_) => Freshness::Anew,
            };
            self.publisher.plan(Plan::Fetching(self.clock.now().wall));
            let outcome = self.attempt(freshness).await;
            let next = match &outcome {
                Ok(served) => {
                    backoff.reset();
                    self.publish(served)
                }
                Err(failure) => self.report(failure, &mut backoff),
            };
            if let Woken::Asked(replies) = woken {
                for reply in replies {
                    // Whoever asked may have gone; the new credential is published all the same.
                    let _ = reply.send(outcome.clone());
                }
            }
            woken = self.wait_until(next).await;
        }
    }

    /// One fetch within its time, checked. A panic in a source ends the attempt, not the loop.
    async fn attempt(&mut self, freshness: Freshness) -> Rotated {
        // Within the block, so that a source that panics before its first await is caught too.
        let fetch = AssertUnwindSafe(async { self.source.fetch(freshness).await }).catch_unwind();
        let fetched = match timeout(self.attempt_timeout, fetch).await {
            Ok(Ok(fetched)) => fetched,
            Ok(Err(_panic)) => Err(Failure::new(
                Cause::Internal,
                Stage::Relay,
                "the source panicked, which is a bug of the relay; the log says where",
            )),
            Err(_elapsed) => Err(Failure::new(
                Cause::Unreachable,
                Stage::Relay,
                format!("no answer within {} s", self.attempt_timeout.as_secs()),
            )),
        };
        fetched
            .and_then(|credential| accept(credential, &self.long_lived_keys))
            .and_then(|credential| Served::new(credential, self.clock.now()))
            .map(Arc::new)
            .map_err(Arc::new)
    }

    /// Publishes a credential and says when to renew it.
    fn publish(&self, served: &Arc<Served>) -> Moment {
        let now = self.clock.now();
        let credential = served.credential();
        let due = schedule::due(&credential.validity, now, Draw::random());
        self.log_success(credential, now, due);
        self.publisher.publish(Arc::clone(served));
        self.publisher.plan(Plan::Renew(due.wall));
        let expiry = match &credential.validity {
            Validity::Until(life) => Some(life.expiry()),
            Validity::Unlimited => None,
        };
        self.metrics.refreshed(now.wall, expiry);
        self.metrics.next_refresh(due.wall);
        due
    }

    fn log_success(&self, credential: &Credential, now: Moment, due: Moment) {
        let renewed = match self.publisher.held() {
            Snapshot::Available(before, _) => {
                before.credential().access_key_id != credential.access_key_id
            }
            Snapshot::Pending | Snapshot::Unavailable(_) => true,
        };
        let (lifetime_s, expires) = match &credential.validity {
            Validity::Until(life) => {
                (life.expiry().remaining(now).as_secs(), life.expiry().wall.to_string())
            }
            Validity::Unlimited => (0, "never".to_owned()),
        };
        let next_s = due.remaining(now).as_secs();
        if renewed {
            tracing::info!(
                profile = %self.profile,
                access_key_id = %credential.access_key_id,
                lifetime_s,
                expires,
                next_s,
                "rotated"
            );
        } else {
            tracing::debug!(profile = %self.profile, expires, next_s, "unchanged");
        }
    }

    /// Notes a failure and says when to try again.
    fn report(&self, failure: &Arc<Failure>, backoff: &mut Backoff) -> Moment {
        let now = self.clock.now();
        self.publisher.report(Arc::clone(failure), now);
        let wait = backoff.after(failure.cause, Draw::random());
        let held = self.publisher.held();
        let (serving, again) = match held.view(now) {
            View::Ready(served, _) => (
                format!("{} until {}", served.credential().access_key_id, end_of(served)),
                now + not_past_last_call(wait, served.credential(), now),
            ),
            View::Pending | View::Expired | View::Unavailable(_) => {
                ("nothing".to_owned(), now + wait)
            }
        };
        tracing::warn!(
            profile = %self.profile,
            stage = %failure.stage,
            cause = failure.cause.as_str(),
            retry_ms = u64::try_from(again.remaining(now).as_millis()).unwrap_or(u64::MAX),
            serving,
            reason = failure.reason,
            "refresh failed"
        );
        self.publisher.plan(Plan::Retry(again.wall));
        self.metrics.failed(failure);
        self.metrics.next_refresh(again.wall);
        again
    }

    /// Waits until a moment on either clock, or until somebody asks for a new credential.
    async fn wait_until(&mut self, due: Moment) -> Woken {
        loop {
            let left = due.remaining(self.clock.now());
            if left.is_zero() {
                return Woken::Due;
            }
            tokio::select! {
                () = sleep(left.min(LOOK_AGAIN)) => {}
                replies = self.publisher.asked() => return Woken::Asked(replies),
            }
        }
    }
}

/// Refuses keys on which several SDKs fail, unless the operator wants them (endpoint-contract
/// section 3).
///
/// # Errors
/// If it does.
pub fn accept(credential: Credential, long_lived: &LongLivedKeys) -> Result<Credential, Failure> {
    let lacks = match (&credential.session, &credential.validity) {
        (Session::Token(_), Validity::Until(_)) => return Ok(credential),
        (Session::None, _) => "session token",
        (Session::Token(_), Validity::Unlimited) => "expiry",
    };
    match long_lived {
        LongLivedKeys::Served => Ok(credential),
        LongLivedKeys::Refused | LongLivedKeys::Exchanged { .. } => Err(Failure::new(
            Cause::Misconfigured,
            Stage::Relay,
            format!(
                "the keys {} have no {lacks}, on which several SDKs fail; add a chain, or set serve_long_lived_keys to true",
                credential.access_key_id
            ),
        )),
    }
}

fn end_of(served: &Served) -> String {
    match &served.credential().validity {
        Validity::Until(life) => life.serve_until().wall.to_string(),
        Validity::Unlimited => "it is replaced".to_owned(),
    }
}

/// A wait that does not sleep past the last minute of the credential that is held.
fn not_past_last_call(wait: Duration, held: &Credential, now: Moment) -> Duration {
    match held.remaining(now) {
        Some(left) if left > LAST_CALL => wait.min(left - LAST_CALL),
        Some(_) | None => wait,
    }
}

#[cfg(test)]
mod tests;
