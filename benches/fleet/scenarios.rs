//! What fleets go through, and what is aimed at.

use credential_relay::failure::Cause;
use credential_relay::schedule;

use crate::fleet::{Fleet, LIFETIME};
use crate::upstream::{Outage, Upstream, WINDOW};

const MINUTE: f64 = 60.0;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;

const VAULT: usize = 0;
const STS: usize = 1;
/// What they take a second. STS's is its limit for an account and a region (upstreams section 6); Vault's is what one of
/// three nodes takes of logins and leases in this model, whose rate limit quota answers 429 above that.
const LIMITS: [f64; 2] = [300.0, 600.0];

/// Two hops, from keys that need no upstream.
const BY_STS: &[usize] = &[STS, STS];
/// What Vault gives, and two hops.
const BY_VAULT: &[usize] = &[VAULT, STS, STS];

/// Started over the time that lies between two renewals, each has a moment of its own.
fn spread() -> f64 {
    schedule::renewed_every(LIFETIME).as_secs_f64()
}

/// When outages begin: everybody has gone through renewals.
const SETTLED: f64 = 6.0 * HOUR;

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
    /// Of which upstream it is.
    outage: Option<(usize, Outage)>,
    /// From when on it is looked at, and until when it lives.
    looked_at: (f64, f64),
    aim: Aim,
}

pub(crate) struct Outcome {
    pub(crate) met: bool,
    pub(crate) row: String,
}

fn steady(name: &'static str, stages: &'static [usize]) -> Scenario {
    Scenario {
        name,
        fleet: Fleet { stages, started_within: spread() },
        outage: None,
        looked_at: (2.0 * HOUR, 12.0 * HOUR),
        aim: Aim::Peak(1.3),
    }
}

/// All start within 10 s.
fn mass_start(name: &'static str, looked_at: (f64, f64), aim: Aim) -> Scenario {
    let fleet = Fleet { stages: BY_STS, started_within: 10.0 };
    Scenario { fleet, looked_at, aim, ..steady(name, BY_STS) }
}

/// The upstream that the first stage asks is gone for so many minutes.
fn gone(name: &'static str, stages: &'static [usize], minutes: f64, aim: Aim) -> Scenario {
    let cause = Cause::Unreachable;
    let outage = Outage { from: SETTLED, until: SETTLED + minutes * MINUTE, cause };
    Scenario {
        outage: Some((stages[0], outage)),
        looked_at: (SETTLED, SETTLED + 5.0 * HOUR),
        aim,
        ..steady(name, stages)
    }
}

fn denied(name: &'static str, minutes: f64, aim: Aim) -> Scenario {
    let gone = gone(name, BY_STS, minutes, aim);
    let outage =
        gone.outage.map(|(which, outage)| (which, Outage { cause: Cause::Denied, ..outage }));
    Scenario { outage, ..gone }
}

pub(crate) fn all() -> Vec<Scenario> {
    let (left, healed) = (Aim::Left(60.0), Aim::Healed(900.0));
    vec![
        steady("steady", BY_STS),
        mass_start("mass start within 10 s", (0.0, 2.0 * HOUR), Aim::Healed(600.0)),
        mass_start("a day after the mass start", (DAY, DAY + 6.0 * HOUR), Aim::Peak(1.3)),
        gone("STS gone for 10 minutes", BY_STS, 10.0, left),
        gone("STS gone for 25 minutes", BY_STS, 25.0, left),
        gone("STS gone for 29 minutes", BY_STS, 29.0, left),
        gone("STS gone for 2 hours", BY_STS, 120.0, healed),
        denied("the hub role denied for 10 minutes", 10.0, left),
        steady("Vault, steady", BY_VAULT),
        gone("Vault gone for 10 minutes", BY_VAULT, 10.0, left),
        gone("Vault gone for 2 hours", BY_VAULT, 120.0, healed),
    ]
}

impl Scenario {
    pub(crate) fn run(&self) -> Outcome {
        let mut upstreams = [VAULT, STS].map(|which| {
            let outage = self.outage.filter(|(of, _)| *of == which).map(|(_, outage)| outage);
            Upstream::new(LIMITS[which], outage)
        });
        let (from, until) = self.looked_at;
        let seen = self.fleet.live(until, &mut upstreams, from);
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
        let taken = windows(&upstreams[STS].taken);
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
