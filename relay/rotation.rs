//! Rotation: the loop that fetches, checks, publishes, waits and retries; one for each profile.

pub mod backoff;
pub mod pace;
pub mod probe;
mod suspect;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::audit::Audit;
use crate::clock::{Clock, Moment};
use crate::config::LongLivedKeys;
use crate::config::values::ProfileName;
use crate::credential::{AccessKeyId, Credential, Propagation, Session, Validity};
use crate::failure::{Cause, Failure, Stage};
use crate::metrics::ProfileMetrics;
use crate::sources::{Freshness, Source};
use crate::store::{Plan, Publisher, Rotated, Served, Snapshot, View};

use crate::schedule::Draw;
use pace::Pace;
use probe::Proof;
pub use suspect::Suspicion;

/// A sleep does not count the time for which a machine is suspended, so the clock is looked at
/// this often. A client that asks sooner after a resume is held or answered 503, never served an
/// expired credential.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Where a user was made for keys that cannot be served, the next would be made in vain too until
/// somebody acts; an account has room for some thousand users, and Vault keeps each for as long as
/// its lease, 32 days by default.
const IN_VAIN: Duration = Duration::from_secs(3600);

/// The rotation of one profile.
pub struct Rotation {
    /// The profile that it serves.
    pub profile: ProfileName,
    /// Where its credentials come from: a chain, or a source alone.
    pub source: Box<dyn Source>,
    /// What to do with keys that no session token or no expiry goes with.
    pub long_lived_keys: LongLivedKeys,
    /// What new keys of a user must stand before they are served; none, and they are served at
    /// once.
    pub proof: Option<Proof>,
    /// What is feared of what is held; nothing at first.
    pub suspicion: Suspicion,
    /// Where they go.
    pub publisher: Publisher,
    /// The time.
    pub clock: Clock,
    /// Its metrics.
    pub metrics: ProfileMetrics,
    /// Where it is recorded.
    pub audit: Audit,
    /// One attempt, with every hop of it, takes at most this long.
    pub attempt_timeout: Duration,
}

/// Why a wait ended.
enum Woken {
    Due,
    Asked(Vec<oneshot::Sender<Rotated>>),
    Suspect,
}

impl Rotation {
    /// Fetches, publishes and waits, for ever: the caller drops it.
    #[expect(
        clippy::manual_async_fn,
        reason = "a block holds what it captures once; an async function, its arguments twice"
    )]
    pub fn run(mut self) -> impl Future<Output = ()> + Send {
        async move { self.turn().await }
    }

    async fn turn(&mut self) {
        let mut pace = Pace::default();
        let mut woken = Woken::Due;
        let mut last = match self.publisher.held() {
            Snapshot::Available(held, _) => Some(held.used()),
            Snapshot::Pending | Snapshot::Unavailable(_) => None,
        };
        loop {
            let (freshness, mut replies) = match woken {
                Woken::Due | Woken::Suspect => (Freshness::Reuse, Vec::new()),
                Woken::Asked(replies) => (Freshness::Anew, replies),
            };
            // On the heap for its time alone: a rotation waits nearly always.
            let (outcome, patience) = Box::pin(self.attempt(freshness, &mut replies)).await;
            let next = match &outcome {
                Ok(served) => {
                    let renewed = last.is_none_or(|last| served.succeeds(&last));
                    last = Some(served.used());
                    self.publish(served, renewed, &mut pace)
                }
                Err(failure) => self.report(failure, patience, &mut pace),
            };
            for reply in replies {
                // Whoever asked may have gone; the new credential is published all the same.
                let _ = reply.send(outcome.clone());
            }
            woken = self.wait_until(next).await;
        }
    }

    /// Fetches and checks; new keys of a user are tried out. With the outcome comes how long to wait
    /// at least if it is a failure.
    async fn attempt(
        &mut self,
        freshness: Freshness,
        replies: &mut Vec<oneshot::Sender<Rotated>>,
    ) -> (Rotated, Duration) {
        Box::pin(self.judge()).await;
        self.publisher.plan(Plan::Fetching(self.clock.now().wall));
        let fetched = self.fetch(freshness).await;
        let made = fetched.as_ref().is_ok_and(|keys| keys.propagation == Propagation::Pending);
        match self.check(fetched) {
            Ok(served) => (Box::pin(self.proven(served, replies)).await, Duration::ZERO),
            Err(failure) if made && failure.cause == Cause::Misconfigured => {
                (Err(failure), IN_VAIN)
            }
            Err(failure) => (Err(failure), Duration::ZERO),
        }
    }

    /// One fetch within its time.
    async fn fetch(&mut self, freshness: Freshness) -> Result<Credential, Failure> {
        let fetch = async { self.source.fetch(freshness).await };
        guarded(self.attempt_timeout, "the source", fetch).await
    }

    /// Whether what was fetched may be served, and how.
    fn check(&self, fetched: Result<Credential, Failure>) -> Rotated {
        fetched
            .and_then(|credential| self.alive(credential))
            .and_then(|credential| accept(credential, &self.long_lived_keys))
            .and_then(|credential| Served::new(credential, self.clock.now()))
            .map(Arc::new)
            .map_err(Arc::new)
    }

    /// Publishes a credential and says when to renew it.
    fn publish(&self, served: &Arc<Served>, renewed: bool, pace: &mut Pace) -> Moment {
        let now = self.clock.now();
        let credential = served.credential();
        let due = pace.succeeded(&credential.validity, now, Draw::random());
        self.log_success(credential, renewed, now, due);
        self.publisher.publish(Arc::clone(served));
        self.publisher.plan(Plan::Renew(due.wall));
        self.metrics.refreshed(now.wall, credential.validity.expiry());
        self.metrics.next_refresh(due.wall);
        due
    }

    fn log_success(&self, credential: &Credential, renewed: bool, now: Moment, due: Moment) {
        let (lifetime_s, expires) = match &credential.validity {
            Validity::Until(life) => {
                (life.expiry().remaining(now).as_secs(), life.expiry().wall.to_string())
            }
            Validity::Unlimited => (0, "never".to_owned()),
        };
        let next_s = due.remaining(now).as_secs();
        if renewed {
            self.audit.rotated(&self.profile, credential);
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
    fn report(&self, failure: &Arc<Failure>, patience: Duration, pace: &mut Pace) -> Moment {
        let now = self.clock.now();
        self.publisher.report(Arc::clone(failure), now);
        let held = self.publisher.held();
        let (serving, left) = match held.view(now) {
            View::Ready(served, _) => (
                format!("{} until {}", served.credential().access_key_id, end_of(served)),
                served.credential().remaining(now),
            ),
            View::Pending | View::Expired | View::Unavailable(_) => ("nothing".to_owned(), None),
        };
        let again = pace.failed(failure.cause, patience, left, now, Draw::random());
        tracing::warn!(
            profile = %self.profile,
            stage = %failure.stage,
            cause = failure.cause.as_str(),
            retry_ms = u64::try_from(again.remaining(now).as_millis()).unwrap_or(u64::MAX),
            serving,
            reason = failure.reason,
            fix = failure.advice.fix(),
            "refresh failed"
        );
        self.publisher.plan(Plan::Retry(again.wall));
        self.metrics.failed(failure);
        self.audit.failed(&self.profile, failure);
        self.metrics.next_refresh(again.wall);
        again
    }

    /// Waits until a moment on either clock, until somebody asks for a new credential, or until the
    /// one that is held may be dead.
    async fn wait_until(&mut self, due: Moment) -> Woken {
        loop {
            let left = due.remaining(self.clock.now());
            if left.is_zero() {
                return Woken::Due;
            }
            tokio::select! {
                () = sleep(left.min(LOOK_AGAIN)) => {}
                replies = self.publisher.asked() => return Woken::Asked(replies),
                id = suspected(self.source.as_mut()) => {
                    if self.suspects(id) {
                        return Woken::Suspect;
                    }
                }
            }
        }
    }
}

/// Runs a part that is not the loop's own within its time. Its panic ends the attempt, not the loop.
async fn guarded<T>(
    limit: Duration,
    who: &'static str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match timeout(limit, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_panic)) => Err(Failure::new(
            Cause::Internal,
            Stage::Relay,
            format!("{who} panicked, which is a bug of the relay; the log says where"),
        )),
        Err(_elapsed) => Err(Failure::new(
            Cause::Unreachable,
            Stage::Relay,
            format!("no answer within {} s", limit.as_secs()),
        )),
    }
}

/// Waits for keys that may be dead. A source that panics over it is not heard for this wait.
async fn suspected(source: &mut dyn Source) -> AccessKeyId {
    match AssertUnwindSafe(async { source.suspect().await }).catch_unwind().await {
        Ok(id) => id,
        Err(_panic) => std::future::pending().await,
    }
}

/// Refuses keys on which several SDKs fail, unless the operator wants them (endpoint-contract
/// section 3).
///
/// # Errors
/// If it does.
pub fn accept(credential: Credential, long_lived: &LongLivedKeys) -> Result<Credential, Failure> {
    let (lacks, ways) = match (&credential.session, &credential.validity) {
        (Session::Token(_), Validity::Until(_)) => return Ok(credential),
        (Session::None, _) => (
            "session token",
            "add a chain, set get_session_token to exchange them for a session, or",
        ),
        (Session::Token(_), Validity::Unlimited) => ("expiry", "add a chain, or"),
    };
    match long_lived {
        LongLivedKeys::Served => Ok(credential),
        LongLivedKeys::Refused | LongLivedKeys::Exchanged { .. } => Err(Failure::new(
            Cause::Misconfigured,
            Stage::Relay,
            format!(
                "the keys {} have no {lacks}, on which several SDKs fail; {ways} set serve_long_lived_keys to true to serve them as they are",
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

#[cfg(test)]
mod tests;
