//! What fleets go through, and what is aimed at.

use std::time::Duration;

use credential_relay::failure::Cause;

use crate::fleet::Fleet;
use crate::upstream::{Outage, Upstream, WINDOW};

const RELAYS: usize = 100_000;
const HOUR: f64 = 3600.0;
/// A chained role's longest session (upstreams section 4).
const LIFETIME: Duration = Duration::from_secs(3600);
/// STS's limit for an account and a region (upstreams section 6).
const STS: f64 = 600.0;
/// What a Vault of three nodes takes of logins and leases in this model; its rate limit quota answers 429 above that.
const VAULT: f64 = 300.0;

#[derive(Clone, Copy)]
enum Aim {
    /// Peak within so many times the mean.
    Peak(f64),
    /// No client sees less than so many seconds.
    Left(f64),
    /// All are served again within so many seconds after the upstream's return.
    Healed(f64),
}

pub(crate) struct Scenario {
    name: &'static str,
    fleet: Fleet,
    /// The limits of Vault and of STS.
    limits: [f64; 2],
    /// Of which it is.
    outage: Option<(usize, Outage)>,
    /// From when on it is looked at, and until when it lives.
    looked_at: (f64, f64),
    aim: Aim,
}

pub(crate) struct Outcome {
    pub(crate) met: bool,
    pub(crate) row: String,
}

fn fleet(stages: &'static [usize], started_within: f64) -> Fleet {
    Fleet { relays: RELAYS, lifetime: LIFETIME, stages, started_within }
}

/// Two hops, from keys that need no upstream.
const BY_STS: &[usize] = &[1, 1];
/// What Vault gives, and two hops.
const BY_VAULT: &[usize] = &[0, 1, 1];
/// Settled: everybody has gone through renewals, and started at another moment.
const DAY: f64 = 24.0 * HOUR;
const SPREAD: f64 = 1700.0;
const OUTAGE: f64 = 6.0 * HOUR;

pub(crate) fn all() -> Vec<Scenario> {
    let scenario =
        |name, stages, started_within, outage: Option<(usize, f64, Cause)>, looked_at, aim| {
            Scenario {
                name,
                fleet: fleet(stages, started_within),
                limits: [VAULT, STS],
                outage: outage.map(|(which, minutes, cause)| {
                    (which, Outage { from: OUTAGE, until: OUTAGE + minutes * 60.0, cause })
                }),
                looked_at,
                aim,
            }
        };
    let after = (OUTAGE, OUTAGE + 5.0 * HOUR);
    let gone = Cause::Unreachable;
    vec![
        scenario(
            "steady, started over half an hour",
            BY_STS,
            SPREAD,
            None,
            (2.0 * HOUR, 12.0 * HOUR),
            Aim::Peak(1.3),
        ),
        scenario(
            "mass start within 10 s",
            BY_STS,
            10.0,
            None,
            (0.0, 2.0 * HOUR),
            Aim::Healed(600.0),
        ),
        scenario(
            "a day after the mass start",
            BY_STS,
            10.0,
            None,
            (DAY, DAY + 6.0 * HOUR),
            Aim::Peak(1.3),
        ),
        scenario(
            "STS gone for 10 minutes",
            BY_STS,
            SPREAD,
            Some((1, 10.0, gone)),
            after,
            Aim::Left(60.0),
        ),
        scenario(
            "STS gone for 25 minutes",
            BY_STS,
            SPREAD,
            Some((1, 25.0, gone)),
            after,
            Aim::Left(60.0),
        ),
        scenario(
            "STS gone for 29 minutes",
            BY_STS,
            SPREAD,
            Some((1, 29.0, gone)),
            after,
            Aim::Left(60.0),
        ),
        scenario(
            "STS gone for 2 hours",
            BY_STS,
            SPREAD,
            Some((1, 120.0, gone)),
            after,
            Aim::Healed(900.0),
        ),
        scenario(
            "the hub role denied for 10 minutes",
            BY_STS,
            SPREAD,
            Some((1, 10.0, Cause::Denied)),
            after,
            Aim::Left(60.0),
        ),
        scenario(
            "Vault, steady",
            BY_VAULT,
            SPREAD,
            None,
            (2.0 * HOUR, 12.0 * HOUR),
            Aim::Peak(1.3),
        ),
        scenario(
            "Vault gone for 10 minutes",
            BY_VAULT,
            SPREAD,
            Some((0, 10.0, gone)),
            after,
            Aim::Left(60.0),
        ),
        scenario(
            "Vault gone for 2 hours",
            BY_VAULT,
            SPREAD,
            Some((0, 120.0, gone)),
            after,
            Aim::Healed(900.0),
        ),
    ]
}

impl Scenario {
    pub(crate) fn run(&self) -> Outcome {
        let mut upstreams = [0, 1].map(|which| {
            let outage = self.outage.filter(|(of, _)| *of == which).map(|(_, outage)| outage);
            Upstream::new(self.limits[which], outage)
        });
        let (from, until) = self.looked_at;
        let seen = self.fleet.live(until, &mut upstreams, from);
        let sts = &upstreams[1];
        let windows = |counts: &[u32]| -> Vec<f64> {
            let first = (from / WINDOW) as usize;
            let last = ((until / WINDOW) as usize).min(counts.len());
            counts
                .get(first..last)
                .unwrap_or_default()
                .iter()
                .map(|count| f64::from(*count) / WINDOW)
                .collect()
        };
        let most = |rates: &[f64]| rates.iter().copied().fold(0.0, f64::max);
        let taken = windows(&sts.taken);
        let mean = taken.iter().sum::<f64>() / taken.len().max(1) as f64;
        let peak = most(&taken);
        let refused = upstreams.iter().map(|one| most(&windows(&one.refused))).fold(0.0, f64::max);
        let back = self.outage.map_or(from, |(_, outage)| outage.until);
        let healed = (seen.last_served - back).max(0.0);
        let (aim, met) = match self.aim {
            Aim::Peak(times) => (format!("peak within {times} x mean"), peak <= times * mean),
            Aim::Left(left) => (format!("{left} s left at least"), seen.least_left >= left),
            Aim::Healed(within) => (format!("all served within {within} s"), healed <= within),
        };
        let verdict = if met { "ok" } else { "MISSED" };
        let row = format!(
            "| {} | {mean:.0} | {peak:.0} | {:.2} | {refused:.0} | {:.0} | {:.0} | {healed:.0} | {aim} | {verdict} |",
            self.name,
            peak / mean,
            seen.least_left,
            seen.longest_empty,
        );
        Outcome { met, row }
    }
}
