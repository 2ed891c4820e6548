//! A chain: base credentials and the roles assumed from them, one after the other. It is itself a
//! source.
//!
//! The base and each hop on the way keep their own credentials and are used again while they are
//! fresh, so that the last hop's renewal asks nothing of the base: a Vault base would create an
//! IAM user each time.

pub mod exchange;
pub mod hop;

use std::time::Duration;

use crate::clock::{Clock, Moment};
use crate::credential::{AccessKeyId, Credential, Propagation, Session, Validity};
use crate::failure::{Cause, Failure, Stage};
use crate::schedule::{self, Draw};
use crate::sources::{Fetch, Freshness, Source, Suspect};

use exchange::Exchange;
use hop::Hop;

/// Base credentials, and what is made of them.
pub struct Chain {
    base: Box<dyn Source>,
    steps: Box<[Step]>,
    /// What the base and every step but the last gave: place 0 is the base's, place `n` step `n`'s.
    kept: Box<[Kept]>,
    /// What the base is asked for next: until it has succeeded, new keys stay asked for.
    base_freshness: Freshness,
    clock: Clock,
}

/// What is made of the credentials before it.
pub enum Step {
    /// A role is assumed.
    Hop(Hop),
    /// Long-lived keys are exchanged for a session of their user; a session passes as it is. It is
    /// the only step where it is one.
    Exchange(Exchange),
}

impl Step {
    async fn take(&mut self, caller: &Credential, clock: &Clock) -> Result<Credential, Failure> {
        match self {
            Self::Hop(hop) => hop.assume(caller, clock).await,
            Self::Exchange(exchange) => exchange.exchange(caller, clock).await,
        }
    }

    /// Whether it has nothing to do with such credentials.
    fn passes(&self, credential: &Credential) -> bool {
        matches!((self, &credential.session), (Self::Exchange(_), Session::Token(_)))
    }
}

/// The place whose credentials made a call that failed, if a step made it.
fn caller_at(stage: &Stage) -> Option<usize> {
    match stage {
        Stage::Hop { number, .. } => number.checked_sub(1),
        Stage::Sts(_) => Some(0),
        Stage::Base(_) | Stage::Relay => None,
    }
}

/// IAM may take so long to know new keys everywhere (upstreams section 1).
const SETTLING: Duration = Duration::from_secs(60);

/// What a stage on the way holds for those after it.
#[derive(Debug)]
enum Kept {
    Nothing,
    /// Its propagation is pending until the step after it has succeeded with it.
    Credential {
        credential: Box<Credential>,
        due: Moment,
        since: Moment,
    },
}

impl Kept {
    fn fresh(&self, now: Moment) -> Option<&Credential> {
        match self {
            // Keys without an end are read again each time: the file may have changed.
            Self::Credential { credential, due, .. }
                if credential.usable(now)
                    && !due.reached(now)
                    && credential.validity != Validity::Unlimited =>
            {
                Some(credential)
            }
            Self::Credential { .. } | Self::Nothing => None,
        }
    }

    /// What was fetched in the place of this. A lease that was renewed gives the same keys, which
    /// are as well known as before.
    fn followed_by(&self, fetched: Credential) -> Credential {
        match self {
            Self::Credential { credential, .. }
                if credential.access_key_id == fetched.access_key_id =>
            {
                Credential { propagation: credential.propagation, ..fetched }
            }
            Self::Credential { .. } | Self::Nothing => fetched,
        }
    }

    /// What may serve once more after such a failure: only trouble of the upstream's is gone over.
    /// A denial, or a file that is gone, may be somebody's will.
    fn after(&self, failure: &Failure, now: Moment) -> Option<&Credential> {
        let trouble = match failure.cause {
            Cause::Unreachable
            | Cause::Tls
            | Cause::Throttled { .. }
            | Cause::Transient
            | Cause::Internal => true,
            Cause::StaleCaller | Cause::Denied | Cause::Misconfigured | Cause::NotConfigured => {
                false
            }
        };
        match self {
            Self::Credential { credential, .. }
                if trouble
                    && credential.usable(now)
                    && credential.validity != Validity::Unlimited =>
            {
                Some(credential)
            }
            Self::Credential { .. } | Self::Nothing => None,
        }
    }
}

/// The credentials that call the next hop, and the place that gave them.
struct Caller {
    credential: Credential,
    place: usize,
}

impl Chain {
    /// A chain over `base`; without steps it gives the base's credentials.
    pub fn new(base: Box<dyn Source>, steps: Vec<Step>, clock: Clock) -> Self {
        let kept = steps.iter().map(|_| Kept::Nothing).collect();
        Self { base, steps: steps.into(), kept, base_freshness: Freshness::Reuse, clock }
    }

    async fn fetch_through(&mut self, freshness: Freshness) -> Result<Credential, Failure> {
        if freshness == Freshness::Anew {
            self.kept.iter_mut().for_each(|kept| *kept = Kept::Nothing);
            self.base_freshness = Freshness::Anew;
        }
        match self.climb().await {
            Err(Failure { cause: Cause::StaleCaller, stage, reason, .. })
                if caller_at(&stage).is_some_and(|place| self.forget_settled(place)) =>
            {
                tracing::info!(%stage, reason, "stale caller: fetching its credentials anew");
                self.climb().await
            }
            outcome => outcome,
        }
    }

    /// Forgets what the stage at `place` gave, if it was good before. Keys that were fetched just
    /// now may not be known everywhere yet, and others would be no better; nor are others made in
    /// the place of a user's new keys that were never accepted.
    fn forget_settled(&mut self, place: usize) -> bool {
        let now = self.clock.now();
        let Some(kept) = self.kept.get_mut(place) else {
            return false;
        };
        let settled = match kept {
            Kept::Credential { credential, since, .. } => {
                (*since + SETTLING).reached(now) && credential.propagation == Propagation::Done
            }
            Kept::Nothing => false,
        };
        if settled {
            *kept = Kept::Nothing;
            if place == 0 {
                self.base_freshness = Freshness::Anew;
            }
        }
        settled
    }

    /// Forgets the base's credentials if they are these, so that the next that are needed are
    /// others.
    fn forget_base(&mut self, id: &AccessKeyId) {
        if let Some(kept) = self.kept.first_mut()
            && matches!(kept, Kept::Credential { credential, .. } if credential.access_key_id == *id)
        {
            *kept = Kept::Nothing;
        }
    }

    /// Notes how a step fared that was called by what stands at `place`.
    fn judge_caller(
        &mut self,
        place: usize,
        outcome: Result<Credential, Failure>,
    ) -> Result<Credential, Failure> {
        let now = self.clock.now();
        let Some(Kept::Credential { credential, since, .. }) = self.kept.get_mut(place) else {
            return outcome;
        };
        match outcome {
            Ok(made) => {
                credential.propagation = Propagation::Done;
                Ok(made)
            }
            Err(failure) if credential.propagation == Propagation::Pending => {
                let age = now.boot.saturating_sub(since.boot);
                Err(of_new_keys(failure, &credential.access_key_id, age))
            }
            Err(failure) => Err(failure),
        }
    }

    /// The furthest place whose credentials are still fresh.
    fn start(&self) -> Option<Caller> {
        let now = self.clock.now();
        self.kept.iter().enumerate().rev().find_map(|(place, kept)| {
            kept.fresh(now).map(|credential| Caller { credential: credential.clone(), place })
        })
    }

    /// Goes from the furthest fresh place, or from the base, through every hop after it.
    async fn climb(&mut self) -> Result<Credential, Failure> {
        let mut at = match self.start() {
            Some(caller) => caller,
            None => {
                let fetched = self.base.fetch(self.base_freshness).await;
                if fetched.is_ok() {
                    self.base_freshness = Freshness::Reuse;
                }
                if let (Some(step), Ok(credential)) = (self.steps.first(), &fetched)
                    && step.passes(credential)
                {
                    self.kept.iter_mut().for_each(|kept| *kept = Kept::Nothing);
                    return fetched;
                }
                Caller { credential: self.keep(0, fetched)?, place: 0 }
            }
        };
        while let Some(step) = self.steps.get_mut(at.place) {
            let outcome = step.take(&at.credential, &self.clock).await;
            let fetched = self.judge_caller(at.place, outcome);
            let place = at.place + 1;
            at = Caller { credential: self.keep(place, fetched)?, place };
        }
        Ok(at.credential)
    }

    /// Keeps what a stage gave, if others follow it. Where it failed while what it gave before is
    /// still good, that serves once more.
    fn keep(
        &mut self,
        place: usize,
        fetched: Result<Credential, Failure>,
    ) -> Result<Credential, Failure> {
        let now = self.clock.now();
        let Some(kept) = self.kept.get_mut(place) else {
            return fetched;
        };
        match fetched {
            Ok(credential) => {
                let credential = kept.followed_by(credential);
                let due = schedule::due(&credential.validity, now, Draw::random());
                let kept_one = Box::new(credential.clone());
                *kept = Kept::Credential { credential: kept_one, due, since: now };
                Ok(credential)
            }
            Err(failure) => match kept.after(&failure, now) {
                Some(credential) => {
                    tracing::warn!(%failure, "going on with the credentials from before");
                    Ok(credential.clone())
                }
                None => Err(failure),
            },
        }
    }
}

/// What the failure of a call means whose keys are new and were never accepted.
fn of_new_keys(failure: Failure, id: &AccessKeyId, age: Duration) -> Failure {
    match failure.cause {
        Cause::StaleCaller | Cause::Denied => Failure {
            cause: if age < SETTLING { Cause::StaleCaller } else { failure.cause },
            reason: format!(
                "{}; the keys {id} that called are {} s old, and IAM may not know them everywhere yet",
                failure.reason,
                age.as_secs()
            ),
            ..failure
        },
        _ => failure,
    }
}

impl Source for Chain {
    fn kind(&self) -> &'static str {
        self.base.kind()
    }

    fn fetch(&mut self, freshness: Freshness) -> Fetch<'_> {
        Box::pin(self.fetch_through(freshness))
    }

    fn way(&self) -> Option<&'static str> {
        self.base.way()
    }

    /// What the base says of its own keys. The session of a role outlives the user who assumed it,
    /// so where there is a hop nothing that was given is suspect; a session of the user itself dies
    /// with it.
    fn suspect(&mut self) -> Suspect<'_> {
        Box::pin(async {
            loop {
                let id = self.base.suspect().await;
                self.forget_base(&id);
                match self.steps.first() {
                    None => return id,
                    Some(Step::Exchange(exchange)) => {
                        return exchange.session_of(&id).cloned().unwrap_or(id);
                    }
                    Some(Step::Hop(_)) => {
                        tracing::info!(access_key_id = %id, "the chain's base may be dead: it is fetched anew when it is next needed");
                    }
                }
            }
        })
    }
}
