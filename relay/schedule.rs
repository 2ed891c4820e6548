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

/// How much of a lifetime the jitter takes off at least where half of it is left at most: an upstream that
/// was gone for nearly half a lifetime finds everybody due, and needs these minutes to serve them all
/// (docs/reliability.md).
const LEAST_JITTER: f64 = 0.03;

/// And at most (endpoint-contract section 5).
const MOST_JITTER: f64 = 0.1;

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

fn least_jitter(nominal: Duration) -> Duration {
    let at_half = renew_when_left(nominal) <= nominal / 2;
    if at_half { nominal.mul_f64(LEAST_JITTER) } else { Duration::ZERO }
}

/// How often credentials of this lifetime are renewed on average: the jitter is drawn evenly.
pub fn renewed_every(nominal: Duration) -> Duration {
    let jitter = (least_jitter(nominal) + nominal.mul_f64(MOST_JITTER)) / 2;
    nominal.saturating_sub(renew_when_left(nominal) + jitter)
}

/// When a credential is to be renewed that was fetched at `now`: never later than
/// [`renew_when_left`] says, up to a tenth of its lifetime earlier, and never so soon that the
/// upstream is called in a loop.
pub fn due(validity: &Validity, now: Moment, draw: Draw) -> Moment {
    match validity {
        Validity::Unlimited => now + look_again(draw),
        Validity::Until(life) => {
            let (least, most) = (least_jitter(life.nominal()), life.nominal().mul_f64(MOST_JITTER));
            let jitter = least + draw.share(most.saturating_sub(least));
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
    LOOK_AGAIN - draw.share(LOOK_AGAIN.mul_f64(MOST_JITTER))
}

#[cfg(test)]
pub(crate) mod fixtures {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    /// The same cases in every run.
    pub(crate) fn cases() -> ProptestConfig {
        let rng_seed = RngSeed::Fixed(1);
        ProptestConfig { cases: 1024, rng_seed, failure_persistence: None, ..Default::default() }
    }

    /// Every one, those of credentials more often.
    pub(crate) fn durations() -> impl Strategy<Value = Duration> {
        let nanos = 0..1_000_000_000_u32;
        prop_oneof![
            (0..200_000_000_u64).prop_map(Duration::from_millis),
            (0..4000_u64).prop_map(Duration::from_secs),
            (0..64_u32, any::<u64>(), nanos)
                .prop_map(|(shift, secs, nanos)| Duration::new(secs >> shift, nanos)),
            Just(Duration::MAX),
        ]
    }

    /// Every one, the outermost more often.
    pub(crate) fn draws() -> impl Strategy<Value = Draw> {
        prop_oneof![Just(0.0), Just(1.0), 0.0..1.0].prop_map(Draw::of)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fixtures::{cases, draws, durations};
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
            let least = least_jitter(Duration::from_secs_f64(lifetime * 60.0)).as_secs_f64() / 60.0;
            let found = minutes_left_at_renewal(lifetime, 0.0) - least;
            assert!((found - left).abs() < 0.01, "{lifetime} min: {found}, not {left}");
        }
    }

    #[test]
    fn jitter_is_earlier_only_and_at_most_a_tenth() {
        for lifetime in (4..=43_200_u32).step_by(37) {
            let minutes = f64::from(lifetime) / 60.0;
            let rule = renew_when_left(Duration::from_secs(lifetime.into())).as_secs_f64() / 60.0;
            for draw in [0.0, 0.5, 1.0] {
                let jitter = minutes_left_at_renewal(minutes, draw) - rule;
                let most = minutes * MOST_JITTER + 1e-4;
                assert!((-1e-4..=most).contains(&jitter), "{lifetime} s, {draw}: {jitter}");
            }
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

    /// Moments cut what is added to them to milliseconds, on one of their clocks.
    const CUT: Duration = Duration::from_millis(1);

    /// When a life was looked at, and that life: fresh or old, by clocks that may have been set meanwhile.
    fn lives() -> impl Strategy<Value = (Moment, Lifetime)> {
        let upstream = prop_oneof![Just(None), durations().prop_map(Some)];
        let life = (0..3_u8, durations(), upstream, durations()).prop_map(
            |(origin, lifetime, upstream, overlap)| match origin {
                0 => Lifetime::from_request(NOW, lifetime, upstream.map(|life| NOW.wall + life)),
                1 => Lifetime::until(NOW, NOW.wall + lifetime),
                _ => Lifetime::replaced(NOW, NOW.wall + lifetime, overlap),
            },
        );
        // Where the clocks still have room for what is added.
        let ages = durations().prop_map(|age| age.min(Duration::from_secs(u64::from(u32::MAX))));
        let age = prop_oneof![2 => Just(Duration::ZERO), 1 => ages];
        let step = prop_oneof![2 => Just(0), 1 => -100_000_000..100_000_000_i64];
        (life, age, step).prop_map(|(life, age, step)| {
            let now = NOW + age;
            let stepped = Timestamp::from_secs(now.wall.as_secs().saturating_add(step));
            (Moment { wall: if step == 0 { now.wall } else { stepped }, ..now }, life)
        })
    }

    fn wait(life: Lifetime, now: Moment, draw: Draw) -> Duration {
        due(&Validity::Until(life), now, draw).remaining(now)
    }

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn no_life_makes_a_loop(((now, life), draw) in (lives(), draws())) {
            prop_assert!(wait(life, now, draw) >= CLOSEST);
            let unlimited = due(&Validity::Unlimited, now, draw).remaining(now);
            prop_assert!((LOOK_AGAIN.mul_f64(1.0 - MOST_JITTER) - CUT..=LOOK_AGAIN).contains(&unlimited));
        }

        #[test]
        fn every_life_is_renewed_while_it_is_served((now, life) in lives(), draw in draws()) {
            let left = life.serve_until().remaining(now);
            prop_assert!(wait(life, now, draw) <= left.max(CLOSEST));
        }

        #[test]
        fn no_renewal_is_later_than_its_rule_and_none_is_more_than_a_tenth_earlier(
            (now, life) in lives(),
            draw in draws(),
        ) {
            let (found, nominal) = (wait(life, now, draw), life.nominal());
            let left = life.serve_until().remaining(now);
            let earliest = (left / 4).clamp(CLOSEST, PATIENCE);
            let rule = life.expiry().before(renew_when_left(nominal)).remaining(now);
            match life.origin() {
                Origin::Asked => {
                    prop_assert!(found <= rule.max(earliest));
                    let soonest = rule.saturating_sub(nominal.mul_f64(MOST_JITTER)).min(left);
                    prop_assert!(found + 2 * CUT >= soonest, "{found:?} {soonest:?}");
                }
                Origin::Found => prop_assert!(found <= rule.min(LOOK_AGAIN).max(earliest)),
                Origin::Replaced(at) => {
                    let latest = (at + 2 * TICK).remaining(now);
                    prop_assert!(found <= latest.max(earliest));
                }
            }
        }

        #[test]
        fn a_larger_draw_is_never_later((now, life) in lives(), one in draws(), other in draws()) {
            let (less, more) = if one.0 < other.0 { (one, other) } else { (other, one) };
            let (less, more) = (wait(life, now, less), wait(life, now, more));
            // Where somebody else replaces the keys, the draw spreads what comes after that.
            let replaced = matches!(life.origin(), Origin::Replaced(_));
            let (sooner, later) = if replaced { (less, more) } else { (more, less) };
            prop_assert!(sooner <= later);
        }

        #[test]
        fn more_life_leaves_no_less_of_it(one in durations(), other in durations()) {
            let (short, long) = (one.min(other), one.max(other));
            prop_assert!(renew_when_left(short) <= renew_when_left(long));
            prop_assert!(renew_when_left(long) <= long);
        }

        #[test]
        fn more_life_is_renewed_no_sooner(one in durations(), other in durations()) {
            let (short, long) = (one.min(other), one.max(other));
            // Below this bound it is half of the life, and from it on a fifth at first.
            let comparable = (short < SHORT) == (long < SHORT);
            let none = Draw::of(0.0);
            let wait = |life| wait(Lifetime::from_request(NOW, life, None), NOW, none);
            prop_assert!(!comparable || wait(short) <= wait(long) + CUT);
            prop_assert!(!comparable || renewed_every(short) <= renewed_every(long) + CUT);
        }

        #[test]
        fn renewals_are_on_average_as_far_apart_as_is_said(secs in 60..1_000_000_u64) {
            let life = Lifetime::from_request(NOW, Duration::from_secs(secs), None);
            let middle = wait(life, NOW, Draw::of(0.5));
            prop_assert!(middle.abs_diff(renewed_every(life.nominal())) <= 2 * CUT);
        }
    }
}
