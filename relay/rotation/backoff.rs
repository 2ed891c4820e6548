//! How long to wait after a failure.

use std::time::Duration;

use crate::failure::Cause;
use crate::schedule::Draw;

/// While nothing is held no wait is longer, but for what an upstream asks (upstreams section 6).
const CAP: Duration = Duration::from_secs(60);

/// While something is held the longest wait is, in seconds, the square of the minutes that are left of it,
/// within these bounds. When an upstream comes back to a fleet that has waited for it, those whose
/// credentials end soonest ask far more often than the others, who leave them room, and are served first
/// (docs/reliability.md has what that gives). Below the first bound a fleet without hope would be a storm;
/// beyond the second an upstream's return would be noticed late.
const CAP_WHILE_HELD: (f64, f64) = (4.0, 300.0);

/// An upstream that asks for more patience than this is asked again all the same.
const LONGEST_REQUEST: Duration = Duration::from_secs(300);

/// Full jitter may draw close to nothing; this much is always waited.
const FLOOR: Duration = Duration::from_millis(250);

/// The back-off of one profile. It grows with each failure in a row, whatever their causes: an
/// overloaded upstream times out, throttles and answers 503 in turn. The cause says where it
/// starts.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after a failure with this cause, while what is held has so much `left`; nothing is held
    /// without that.
    pub fn after(&mut self, cause: Cause, left: Option<Duration>, draw: Draw) -> Duration {
        let cap = longest(left);
        let times = self.failures;
        self.failures = times.saturating_add(1);
        match cause {
            Cause::Throttled { retry_after: Some(asked) } => {
                let asked = asked.min(LONGEST_REQUEST);
                (asked + draw.share(asked / 10)).max(full_jitter(5, times, cap, draw))
            }
            Cause::Throttled { retry_after: None } => full_jitter(5, times, cap, draw),
            // Only a person can heal these, or a file that is looked at each time.
            Cause::Tls | Cause::Misconfigured => CAP / 2 + draw.share(CAP / 2),
            Cause::Unreachable
            | Cause::Transient
            | Cause::StaleCaller
            | Cause::Denied
            | Cause::NotConfigured
            | Cause::Internal => full_jitter(1, times, cap, draw),
        }
    }

    /// A fetch succeeded: the next failure is a first one.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

fn longest(left: Option<Duration>) -> Duration {
    let (least, most) = CAP_WHILE_HELD;
    left.map_or(CAP, |left| {
        let minutes = left.as_secs_f64() / 60.0;
        Duration::from_secs_f64((minutes * minutes).clamp(least, most))
    })
}

/// A share of `first` seconds doubled `times` times, at most the cap.
fn full_jitter(first: u64, times: u32, cap: Duration, draw: Draw) -> Duration {
    let ceiling = Duration::from_secs(first).saturating_mul(1 << times.min(16)).min(cap);
    draw.share(ceiling).max(FLOOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: f64 = 1.0;

    fn nearly(found: Duration, secs: u64) -> bool {
        found.abs_diff(Duration::from_secs(secs)) < Duration::from_millis(1)
    }

    #[test]
    fn it_doubles_to_the_cap_and_stays_there() {
        let mut backoff = Backoff::default();
        for secs in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            assert!(nearly(backoff.after(Cause::Transient, None, Draw::of(MOST)), secs), "{secs}");
        }
        for _ in 0..100 {
            backoff.after(Cause::Transient, None, Draw::of(MOST));
        }
    }

    #[test]
    fn jitter_is_full_but_never_nothing() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.after(Cause::Transient, None, Draw::of(0.0)), FLOOR);
        assert!(backoff.after(Cause::Transient, None, Draw::of(0.5)) <= Duration::from_secs(1));
    }

    #[test]
    fn another_cause_does_not_start_it_again_and_a_success_does() {
        let mut backoff = Backoff::default();
        let mut waited = Duration::ZERO;
        for _ in 0..50 {
            waited += backoff.after(Cause::Transient, None, Draw::of(MOST));
            waited += backoff.after(Cause::Unreachable, None, Draw::of(MOST));
        }
        assert!(waited > Duration::from_secs(5000), "{waited:?}");
        backoff.reset();
        assert!(nearly(backoff.after(Cause::Denied, None, Draw::of(MOST)), 1));
    }

    #[test]
    fn an_upstream_that_asks_for_no_patience_is_spared_all_the_same() {
        let mut backoff = Backoff::default();
        let eager = Cause::Throttled { retry_after: Some(Duration::ZERO) };
        let waits: Duration = (0..10).map(|_| backoff.after(eager, None, Draw::of(MOST))).sum();
        assert!(waits > Duration::from_secs(300), "{waits:?}");
    }

    #[test]
    fn throttling_starts_at_five_seconds_or_at_what_was_asked() {
        let mut backoff = Backoff::default();
        let unnamed = Cause::Throttled { retry_after: None };
        assert!(nearly(backoff.after(unnamed, None, Draw::of(MOST)), 5));
        assert!(nearly(backoff.after(unnamed, None, Draw::of(MOST)), 10));
        let asked = Cause::Throttled { retry_after: Some(Duration::from_secs(20)) };
        assert_eq!(backoff.after(asked, None, Draw::of(0.0)), Duration::from_secs(20));
        let absurd = Cause::Throttled { retry_after: Some(Duration::from_secs(86_400)) };
        assert_eq!(backoff.after(absurd, None, Draw::of(0.0)), LONGEST_REQUEST);
    }

    #[test]
    fn who_needs_it_sooner_waits_less() {
        for (left, secs) in [(3600, 300), (1800, 300), (600, 100), (300, 25), (120, 4), (1, 4)] {
            let mut backoff = Backoff { failures: 30 };
            let left = Some(Duration::from_secs(left));
            assert!(nearly(backoff.after(Cause::Transient, left, Draw::of(MOST)), secs), "{secs}");
        }
    }

    #[test]
    fn what_only_a_person_can_heal_is_tried_at_the_cap() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.after(Cause::Misconfigured, None, Draw::of(0.0)), CAP / 2);
        assert!(nearly(backoff.after(Cause::Tls, None, Draw::of(MOST)), 60));
    }
}
