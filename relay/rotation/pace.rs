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
        let wait = self.backoff.after(cause, left, draw).max(patience);
        match left {
            Some(left) if left > LAST_CALL => now + wait.min(left - LAST_CALL),
            Some(_) | None => now + wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Timestamp;
    use crate::credential::Lifetime;
    use crate::schedule::fixtures::{cases, draws, durations};

    const NOW: Moment =
        Moment { wall: Timestamp::from_secs(1_000_000), boot: Duration::from_secs(50) };

    /// No wait is so long but for what an upstream asks, or a patience: while nothing is held, and while
    /// something is.
    const CAPS: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(300)];
    /// However long an upstream asks, with the jitter on top.
    const LONGEST: Duration = Duration::from_secs(330);
    const SHORTEST: Duration = Duration::from_millis(250);
    /// Moments cut what is added to them to milliseconds, on one of their clocks.
    const CUT: Duration = Duration::from_millis(1);

    fn causes() -> impl Strategy<Value = Cause> {
        prop_oneof![
            Just(Cause::Unreachable),
            Just(Cause::Tls),
            prop_oneof![Just(None), durations().prop_map(Some)]
                .prop_map(|retry_after| Cause::Throttled { retry_after }),
            Just(Cause::Transient),
            Just(Cause::StaleCaller),
            Just(Cause::Denied),
            Just(Cause::Misconfigured),
            Just(Cause::NotConfigured),
            Just(Cause::Internal),
        ]
    }

    fn failures() -> impl Strategy<Value = Vec<(Cause, Draw)>> {
        prop::collection::vec((causes(), draws()), 1..12)
    }

    fn held() -> impl Strategy<Value = Option<Duration>> {
        prop_oneof![Just(None), durations().prop_map(Some)]
    }

    /// The wait after the last of some failures in a row.
    fn wait(failures: &[(Cause, Draw)], patience: Duration, left: Option<Duration>) -> Duration {
        let mut pace = Pace::default();
        let next = failures
            .iter()
            .map(|(cause, draw)| pace.failed(*cause, patience, left, NOW, *draw).remaining(NOW))
            .last();
        next.unwrap_or_default()
    }

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn every_wait_after_a_failure_has_bounds(failures in failures(), left in held()) {
            let found = wait(&failures, Duration::ZERO, left);
            let (cause, _) = failures[failures.len() - 1];
            let most = match cause {
                Cause::Throttled { .. } => LONGEST,
                Cause::Tls | Cause::Misconfigured => CAPS[0],
                _ => CAPS[usize::from(left.is_some())],
            };
            prop_assert!(found <= most, "{found:?}");
            // But where the last call is nearer.
            let last_call = left.map(|left| left.saturating_sub(LAST_CALL)).filter(|l| !l.is_zero());
            prop_assert!(found >= last_call.map_or(SHORTEST, |l| l.min(SHORTEST)) - CUT, "{found:?}");
        }

        #[test]
        fn a_patience_is_kept_but_for_the_last_call(
            failures in failures(),
            patience in durations(),
            left in held(),
        ) {
            let found = wait(&failures, patience, left);
            let called = left.map(|left| left.saturating_sub(LAST_CALL)).filter(|l| !l.is_zero());
            let patience = (NOW + patience).remaining(NOW);
            prop_assert!(found + CUT >= called.map_or(patience, |called| called.min(patience)));
        }

        #[test]
        fn no_credential_ends_without_a_last_call(failures in failures(), left in durations()) {
            let found = wait(&failures, Duration::ZERO, Some(left));
            if left > LAST_CALL {
                prop_assert!(found <= left - LAST_CALL, "{found:?}");
            }
        }

        #[test]
        fn who_needs_it_sooner_waits_no_longer(
            failures in failures(),
            one in durations(),
            other in durations(),
        ) {
            let (sooner, later) = (one.min(other), one.max(other));
            // Where so much is left the last call cuts a wait, and below it nothing does.
            let comparable = (sooner > LAST_CALL) == (later > LAST_CALL);
            let wait = |left| wait(&failures, Duration::ZERO, Some(left));
            prop_assert!(!comparable || wait(sooner) <= wait(later));
        }

        #[test]
        fn a_success_makes_the_next_failure_a_first_one(
            failures in failures(),
            next in (causes(), draws()),
            lifetime in durations(),
        ) {
            let mut pace = Pace::default();
            for (cause, draw) in failures {
                pace.failed(cause, Duration::ZERO, None, NOW, draw);
            }
            let life = Validity::Until(Lifetime::from_request(NOW, lifetime, None));
            pace.succeeded(&life, NOW, next.1);
            let after = pace.failed(next.0, Duration::ZERO, None, NOW, next.1);
            prop_assert_eq!(after.remaining(NOW), wait(&[next], Duration::ZERO, None));
        }
    }
}
