//! A chain: base credentials and the roles assumed from them, one after the other. It is itself a
//! source.
//!
//! The base and each hop on the way keep their own credentials and are used again while they are
//! fresh, so that the last hop's renewal asks nothing of the base: a Vault base would create an
//! IAM user each time.

pub mod sts;

use std::time::Duration;

use crate::clock::{Clock, Moment};
use crate::credential::{Credential, Validity};
use crate::failure::{Cause, Failure, Stage};
use crate::schedule::{self, Draw};
use crate::sources::{Fetch, Freshness, Source};

use sts::Hop;

/// Base credentials and one hop or more.
pub struct Chain {
    base: Box<dyn Source>,
    hops: Box<[Hop]>,
    /// What the base and every hop but the last gave: place 0 is the base's, place `n` hop `n`'s.
    kept: Box<[Kept]>,
    /// What the base is asked for next: until it has succeeded, new keys stay asked for.
    base_freshness: Freshness,
    clock: Clock,
}

/// IAM may take so long to know new keys everywhere (upstreams section 1).
const SETTLING: Duration = Duration::from_secs(60);

/// What a stage on the way holds for those after it.
#[derive(Debug)]
enum Kept {
    Nothing,
    Credential { credential: Credential, due: Moment, settled: Moment },
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
    /// A chain over `base`; without hops it gives the base's credentials.
    pub fn new(base: Box<dyn Source>, hops: Vec<Hop>, clock: Clock) -> Self {
        let kept = hops.iter().map(|_| Kept::Nothing).collect();
        Self { base, hops: hops.into(), kept, base_freshness: Freshness::Reuse, clock }
    }

    async fn fetch_through(&mut self, freshness: Freshness) -> Result<Credential, Failure> {
        if freshness == Freshness::Anew {
            self.kept.iter_mut().for_each(|kept| *kept = Kept::Nothing);
            self.base_freshness = Freshness::Anew;
        }
        match self.climb().await {
            Err(Failure {
                cause: Cause::StaleCaller,
                stage: Stage::Hop { number, .. },
                reason,
                ..
            }) if self.forget_settled(number - 1) => {
                tracing::info!(hop = number, reason, "stale caller: fetching its credentials anew");
                self.climb().await
            }
            outcome => outcome,
        }
    }

    /// Forgets what the stage at `place` gave, if it was good before. Keys that were fetched just
    /// now may not be known everywhere yet, and others would be no better.
    fn forget_settled(&mut self, place: usize) -> bool {
        let now = self.clock.now();
        let Some(kept) = self.kept.get_mut(place) else {
            return false;
        };
        let settled = matches!(kept, Kept::Credential { settled, .. } if settled.reached(now));
        if settled {
            *kept = Kept::Nothing;
            if place == 0 {
                self.base_freshness = Freshness::Anew;
            }
        }
        settled
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
                Caller { credential: self.keep(0, fetched)?, place: 0 }
            }
        };
        while let Some(hop) = self.hops.get_mut(at.place) {
            let fetched = hop.assume(&at.credential, &self.clock).await;
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
                let due = schedule::due(&credential.validity, now, Draw::random());
                let settled = now + SETTLING;
                *kept = Kept::Credential { credential: credential.clone(), due, settled };
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

impl Source for Chain {
    fn kind(&self) -> &'static str {
        self.base.kind()
    }

    fn fetch(&mut self, freshness: Freshness) -> Fetch<'_> {
        Box::pin(self.fetch_through(freshness))
    }
}
