//! When the next attempt is made. Pure, so that a fleet of relays can be simulated with it (benches/fleet).

use std::time::Duration;

use super::backoff::Backoff;
use crate::clock::Moment;
use crate::credential::Validity;
use crate::failure::Cause;
use crate::schedule::{self, Draw};

/// A failing renewal is tried at least once more when this much is left (upstreams section 6).
const LAST_CALL: Duration = Duration::from_secs(60);

/// The pace of one profile's attempts.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    backoff: Backoff,
}

impl Pace {
    /// The next attempt after one that gave a credential at `now`.
    pub fn succeeded(&mut self, validity: &Validity, now: Moment, draw: Draw) -> Moment {
        self.backoff.reset();
        schedule::due(validity, now, draw)
    }

    /// The next attempt after one that failed at `now`: not before `patience` is over, but where what is held
    /// has so much `left`, before that ends.
    pub fn failed(
        &mut self,
        cause: Cause,
        patience: Duration,
        left: Option<Duration>,
        now: Moment,
        draw: Draw,
    ) -> Moment {
        let wait = self.backoff.after(cause, draw).max(patience);
        match left {
            Some(left) if left > LAST_CALL => now + wait.min(left - LAST_CALL),
            Some(_) | None => now + wait,
        }
    }
}
