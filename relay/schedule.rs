//! When to renew: pure functions of a credential's life, the present and one draw of jitter.

use std::time::Duration;

use crate::clock::Moment;
use crate::credential::{Origin, Validity};

/// Below this lifetime the middle of it is the best that can be had.
const SHORT: Duration = Duration::from_secs(750);

/// From this lifetime on, half of it is 25 min or more.
const LONG: Duration = Duration::from_secs(3000);

/// No SDK refreshes earlier than 20 min before expiry, and botocore asks at each signed call once
/// less than 15 are left: 25 min keeps every client out of its window (endpoint-contract
/// section 5).
const WANTED: Duration = Duration::from_secs(1500);

/// How often keys are looked at that somebody else may replace at any time: a local file costs
/// nothing to read.
const LOOK_AGAIN: Duration = Duration::from_secs(300);

/// Vault looks once a minute for keys that are due to be rotated (upstreams section 1).
const TICK: Duration = Duration::from_secs(60);

/// Two fetches are at least this far apart, whatever an upstream says of its credentials' lives.
const CLOSEST: Duration = Duration::from_secs(1);

/// An answer that is already due is asked for again after this at the earliest: an instance role's
/// endpoint hands out what it has until shortly before its end.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much of a lifetime the jitter may take off, at most.
const JITTER: f64 = 0.1;

/// A draw from 0 up to, not including, 1: made once for each credential.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw(f64);

impl Draw {
    /// From the program's own generator. It spreads load and guards nothing.
    pub fn random() -> Self {
        Self(fastrand::f64())
    }

    /// A given draw, brought into the range.
    pub fn of(value: f64) -> Self {
        Self(if value.is_finite() { value.clamp(0.0, 1.0 - f64::EPSILON) } else { 0.0 })
    }

    /// This share of `whole`.
    pub fn share(self, whole: Duration) -> Duration {
        whole.mul_f64(self.0)
    }
}

/// How much must remain when a credential of lifetime `nominal` is renewed, before jitter: half, or
/// for 12.5 min <= L < 50 min the lesser of 25 min and 0.8 L.
pub fn renew_when_left(nominal: Duration) -> Duration {
    if nominal < SHORT || nominal >= LONG { nominal / 2 } else { WANTED.min(nominal.mul_f64(0.8)) }
}

/// How often credentials of this lifetime are renewed on average: half of the jitter is drawn.
pub fn renewed_every(nominal: Duration) -> Duration {
    nominal.saturating_sub(renew_when_left(nominal) + nominal.mul_f64(JITTER / 2.0))
}

/// When a credential is to be renewed that was fetched at `now`: never later than
/// [`renew_when_left`] says, up to a tenth of its lifetime earlier, and never so soon that the
/// upstream is called in a loop.
pub fn due(validity: &Validity, now: Moment, draw: Draw) -> Moment {
    match validity {
        Validity::Unlimited => now + look_again(draw),
        Validity::Until(life) => {
            let jitter = draw.share(life.nominal().mul_f64(JITTER));
            let half = life.expiry().before(renew_when_left(life.nominal()) + jitter);
            let left = life.serve_until().remaining(now);
            let wanted = match life.origin() {
                Origin::Asked => half.remaining(now).min(left),
                Origin::Found => half.remaining(now).min(left).min(look_again(draw)),
                // Whoever replaces it is as late as its own clock ticks.
                Origin::Replaced(at) => {
                    let latest = left.saturating_sub(PATIENCE / 2).max(left / 2);
                    (at + TICK + draw.share(TICK)).remaining(now).min(latest)
                }
            };
            let earliest = (left / 4).clamp(CLOSEST, PATIENCE);
            now + wanted.max(earliest)
        }
    }
}

fn look_again(draw: Draw) -> Duration {
    LOOK_AGAIN - draw.share(LOOK_AGAIN.mul_f64(JITTER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::credential::Lifetime;

    const NOW: Moment =
        Moment { wall: Timestamp::from_secs(1_000_000), boot: Duration::from_secs(50) };

    fn minutes_left_at_renewal(lifetime: f64, draw: f64) -> f64 {
        let lifetime = Duration::from_secs_f64(lifetime * 60.0);
        let life = Lifetime::from_request(NOW, lifetime, None);
        let due = due(&Validity::Until(life), NOW, Draw::of(draw));
        life.expiry().remaining(due).as_secs_f64() / 60.0
    }

    #[test]
    fn the_contracts_examples_hold() {
        for (lifetime, left) in
            [(720.0, 360.0), (60.0, 30.0), (50.0, 25.0), (30.0, 24.0), (15.0, 12.0), (12.0, 6.0)]
        {
            let found = minutes_left_at_renewal(lifetime, 0.0);
            assert!((found - left).abs() < 0.01, "{lifetime} min: {found}, not {left}");
        }
    }

    #[test]
    fn jitter_is_earlier_only_and_at_most_a_tenth() {
        for lifetime in (1..=43_200).step_by(37) {
            let minutes = f64::from(lifetime) / 60.0;
            let none = minutes_left_at_renewal(minutes, 0.0);
            let most = minutes_left_at_renewal(minutes, 1.0);
            assert!(most >= none - 1e-9, "{lifetime} s: {most} < {none}");
            assert!(most - none <= minutes / 10.0 + 1e-4, "{lifetime} s: {most} - {none}");
        }
    }

    #[test]
    fn every_lifetime_from_32_min_has_25_left_and_from_12_5_has_10() {
        for secs in 750..=43_200 {
            let left = renew_when_left(Duration::from_secs(secs));
            assert!(left >= Duration::from_secs(600), "{secs}");
            if secs >= 1875 {
                assert!(left >= WANTED, "{secs}");
            }
        }
    }

    #[test]
    fn what_is_already_due_is_not_asked_for_in_a_loop() {
        let issued = NOW.before(Duration::from_secs(3300));
        let life = Lifetime::from_request(issued, Duration::from_secs(3600), None);
        let validity = Validity::Until(life);
        assert_eq!(due(&validity, NOW, Draw::of(0.0)).remaining(NOW), PATIENCE);
        let ended = NOW + Duration::from_secs(9999);
        assert_eq!(due(&validity, ended, Draw::of(0.0)).remaining(ended), CLOSEST);
    }

    #[test]
    fn what_somebody_else_may_replace_is_looked_at_until_it_ends() {
        for (left, most) in [(86_400 * 365, 300), (3600, 300), (40, 20), (30, 15), (18, 3), (16, 1)]
        {
            let end = NOW + Duration::from_secs(left);
            let life = Lifetime::until(NOW, end.wall);
            let due = due(&Validity::Until(life), NOW, Draw::of(0.0)).remaining(NOW);
            assert!(due <= Duration::from_secs(most), "{left} s left: looked at after {due:?}");
        }
    }

    #[test]
    fn what_somebody_else_replaces_is_looked_for_after_that_and_before_it_ends() {
        for (replaced, overlap, from, to) in
            [(86_400, 900, 86_460, 86_520), (60, 60, 60, 80), (0, 900, 60, 120)]
        {
            let at = NOW.wall + Duration::from_secs(replaced);
            let life = Lifetime::replaced(NOW, at, Duration::from_secs(overlap));
            for draw in [0.0, 0.99] {
                let due = due(&Validity::Until(life), NOW, Draw::of(draw)).remaining(NOW);
                assert!((from..=to).contains(&due.as_secs()), "{replaced} {overlap}: {due:?}");
            }
        }
    }

    #[test]
    fn two_seconds_are_renewed_after_one() {
        let life = Lifetime::from_request(NOW, Duration::from_secs(2), None);
        assert_eq!(due(&Validity::Until(life), NOW, Draw::of(0.9)).remaining(NOW), CLOSEST);
    }
}
