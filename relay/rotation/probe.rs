//! The propagation check: keys that were made for a user a moment ago are served only once AWS has
//! known them several times in a row, since IAM takes seconds to know them everywhere (upstreams
//! section 1). It proves that they are known, not that their policies have spread.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

use super::backoff::Backoff;
use super::{Rotation, guarded, suspected};
use crate::clock::{Clock, Moment};
use crate::credential::{AccessKeyId, Credential, Propagation};
use crate::failure::{Cause, Failure, Stage};
use crate::schedule::Draw;
use crate::store::{Plan, Rotated, Served, Snapshot, View};

/// Between two successes.
const BETWEEN: Duration = Duration::from_secs(1);

/// From here on the wait is reported, and goes on (upstreams section 1).
const LATE: Duration = Duration::from_secs(60);

/// One question takes at most this long: STS's own limit is 15 s an operation.
const ANSWER: Duration = Duration::from_secs(20);

/// An answer that is under way.
pub type Asked<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;

/// Says whether AWS accepts a set of keys.
pub trait Probe: Send + Sync {
    /// Asks once, by a call that needs no permission.
    ///
    /// # Errors
    /// [`Cause::StaleCaller`] if AWS does not know the keys; anything else says nothing of them.
    fn ask<'a>(&'a self, credential: &'a Credential) -> Asked<'a>;
}

/// What new keys must stand before they are served.
#[derive(Clone)]
pub struct Proof {
    /// Successes in a row.
    pub successes: u32,
    /// How long to wait after the last of them.
    pub settle: Duration,
    /// Who is asked.
    pub probe: Arc<dyn Probe>,
}

impl Proof {
    /// Asks once, within its time.
    pub(super) async fn ask(&self, credential: &Credential) -> Result<(), Failure> {
        guarded(ANSWER, "the probe", async { self.probe.ask(credential).await }).await
    }

    /// Waits until AWS knows `keys`, where they are new, for a command that runs beside no
    /// rotation.
    ///
    /// # Errors
    /// If it does not within about `limit`.
    pub async fn wait(
        &self,
        keys: Arc<Served>,
        clock: &Clock,
        limit: Duration,
    ) -> Result<(), Failure> {
        if keys.credential().propagation == Propagation::Done {
            return Ok(());
        }
        let end = Instant::now() + limit;
        let mut trial = Trial::new(keys, self, clock.now());
        loop {
            let answer = self.ask(trial.keys.credential()).await;
            match trial.heard(answer, self.successes, clock.now(), Draw::random()) {
                Next::Ask(wait) if Instant::now() + wait < end => sleep(wait).await,
                Next::Ask(_) => return Err(Failure::clone(&trial.why)),
                Next::Settle => {
                    sleep(self.settle).await;
                    return Ok(());
                }
            }
        }
    }
}

/// One set of keys on trial.
struct Trial {
    keys: Arc<Served>,
    since: Moment,
    in_a_row: u32,
    backoff: Backoff,
    late: bool,
    /// Why they are not served yet.
    why: Arc<Failure>,
}

/// What to do after an answer.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Ask again after so long.
    Ask(Duration),
    /// It is proven, and served after the settling delay.
    Settle,
}

impl Trial {
    fn new(keys: Arc<Served>, proof: &Proof, since: Moment) -> Self {
        let reason = format!(
            "the key {} is new, and is served once AWS has known it {} times in a row",
            keys.credential().access_key_id,
            proof.successes
        );
        let why = Arc::new(unknown(reason));
        Self { keys, since, in_a_row: 0, backoff: Backoff::default(), late: false, why }
    }

    fn id(&self) -> &AccessKeyId {
        &self.keys.credential().access_key_id
    }

    fn waited(&self, now: Moment) -> Duration {
        now.boot.saturating_sub(self.since.boot)
    }

    /// Counts an answer. A failure starts the count again.
    fn heard(&mut self, answer: Result<(), Failure>, wanted: u32, now: Moment, draw: Draw) -> Next {
        match answer {
            Ok(()) => {
                self.backoff.reset();
                self.in_a_row += 1;
                if self.in_a_row >= wanted { Next::Settle } else { Next::Ask(BETWEEN) }
            }
            Err(failure) => {
                self.in_a_row = 0;
                let wait = self.backoff.after(failure.cause, None, draw);
                self.why = Arc::new(self.in_words(failure, now));
                Next::Ask(wait)
            }
        }
    }

    fn in_words(&self, failure: Failure, now: Moment) -> Failure {
        let (id, secs) = (self.id(), self.waited(now).as_secs());
        let Failure { cause, reason, .. } = &failure;
        match cause {
            // Keys that are not known everywhere are refused in either way.
            Cause::StaleCaller | Cause::Denied => unknown(format!(
                "AWS does not know the new key {id} yet, {secs} s after it was made: {reason}"
            )),
            _ => Failure {
                reason: format!("whether AWS knows the new key {id} could not be asked: {reason}"),
                ..failure
            },
        }
    }
}

fn unknown(reason: String) -> Failure {
    Failure::new(Cause::StaleCaller, Stage::Sts("GetCallerIdentity"), reason)
}

impl Rotation {
    /// Tries new keys out, if they must be. Meanwhile what is held is served, nothing else is
    /// fetched, and whoever asks for a rotation joins `replies`: these keys are as new as any.
    pub(super) async fn proven(
        &mut self,
        keys: Arc<Served>,
        replies: &mut Vec<oneshot::Sender<Rotated>>,
    ) -> Rotated {
        let Some(proof) = self.proof_for(keys.credential()) else {
            return Ok(keys);
        };
        let mut trial = Trial::new(keys, &proof, self.clock.now());
        self.announce(&trial);
        let outcome = self.hold_trial(&mut trial, &proof, replies).await;
        let waited = trial.waited(self.clock.now());
        self.metrics.propagating(waited);
        match outcome {
            Ok(()) => {
                tracing::info!(
                    profile = %self.profile,
                    access_key_id = %trial.id(),
                    waited_s = waited.as_secs(),
                    "AWS knows the new key"
                );
                self.metrics.propagation_check("known");
                Ok(trial.keys)
            }
            Err(failure) => {
                self.metrics.propagation_check("dropped");
                Err(Arc::new(failure))
            }
        }
    }

    /// What these keys must stand, unless they are old or are held already.
    fn proof_for(&self, keys: &Credential) -> Option<Proof> {
        let held = match self.publisher.held() {
            Snapshot::Available(held, _) => held.credential().access_key_id == keys.access_key_id,
            Snapshot::Pending | Snapshot::Unavailable(_) => false,
        };
        match keys.propagation {
            Propagation::Pending if !held => self.proof.clone(),
            Propagation::Pending | Propagation::Done => None,
        }
    }

    fn announce(&self, trial: &Trial) {
        tracing::info!(
            profile = %self.profile,
            access_key_id = %trial.id(),
            "the key is new: asking AWS whether it knows it"
        );
        self.publisher
            .plan(Plan::Proving { since: trial.since.wall, access_key_id: trial.id().clone() });
        self.metrics.propagating(Duration::ZERO);
        if !self.serves(trial.since) {
            self.publisher.report(Arc::clone(&trial.why), trial.since);
        }
    }

    fn serves(&self, now: Moment) -> bool {
        matches!(self.publisher.held().view(now), View::Ready(..))
    }

    /// Asks until AWS knows the keys, or they end.
    async fn hold_trial(
        &mut self,
        trial: &mut Trial,
        proof: &Proof,
        replies: &mut Vec<oneshot::Sender<Rotated>>,
    ) -> Result<(), Failure> {
        loop {
            self.judge().await;
            let answer = proof.ask(trial.keys.credential()).await;
            let now = self.clock.now();
            let next = trial.heard(answer, proof.successes, now, Draw::random());
            self.tell(trial, now);
            let wait = match next {
                Next::Ask(wait) => wait,
                Next::Settle => proof.settle,
            };
            self.pause(wait, trial, replies).await?;
            if !trial.keys.credential().usable(self.clock.now()) {
                let id = trial.id();
                return Err(unknown(format!("the new key {id} ended before AWS knew it")));
            }
            if next == Next::Settle {
                return Ok(());
            }
        }
    }

    /// Says how it goes. That AWS does not know new keys yet is no trouble while others are served,
    /// unless it takes long.
    fn tell(&self, trial: &mut Trial, now: Moment) {
        let waited = trial.waited(now);
        self.metrics.propagating(waited);
        if waited >= LATE && !trial.late {
            trial.late = true;
            self.metrics.propagation_check("late");
            tracing::warn!(
                profile = %self.profile,
                access_key_id = %trial.id(),
                waited_s = waited.as_secs(),
                cause = trial.why.cause.as_str(),
                reason = trial.why.reason,
                "the new key is not known to AWS yet; it is asked about until it is"
            );
        }
        let failing = trial.in_a_row == 0;
        let trouble = trial.late || trial.why.cause != Cause::StaleCaller;
        if failing && (trouble || !self.serves(now)) {
            self.publisher.report(Arc::clone(&trial.why), now);
        }
    }

    /// Waits between two rounds, and listens meanwhile.
    ///
    /// # Errors
    /// If the source says that the keys on trial may be dead: nobody holds them, so others are
    /// fetched rather than waiting for dead ones to be known.
    async fn pause(
        &mut self,
        wait: Duration,
        trial: &Trial,
        replies: &mut Vec<oneshot::Sender<Rotated>>,
    ) -> Result<(), Failure> {
        let end = Instant::now() + wait;
        loop {
            tokio::select! {
                () = sleep_until(end) => return Ok(()),
                more = self.publisher.asked() => {
                    replies.retain(|reply| !reply.is_closed());
                    replies.extend(more);
                }
                id = suspected(self.source.as_mut()) => {
                    if id == *trial.id() {
                        return Err(unknown(format!("the new key {id} died before AWS knew it")));
                    }
                    if self.suspects(id) {
                        self.judge().await;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
