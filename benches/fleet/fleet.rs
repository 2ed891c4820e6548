//! The relays: what each holds, and when it asks next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use credential_relay::clock::{Moment, Timestamp};
use credential_relay::credential::{Lifetime, Validity};
use credential_relay::failure::Cause;
use credential_relay::rotation::pace::Pace;
use credential_relay::schedule::{self, Draw};

use crate::upstream::Upstream;

/// One relay with one profile.
#[derive(Clone, Default)]
struct Relay {
    pace: Pace,
    /// What the stages before the last gave, as `chain` keeps it, and when each is due.
    kept: [Option<(Lifetime, Moment)>; MOST_STAGES],
    held: Option<Lifetime>,
}

/// A base and two hops.
const MOST_STAGES: usize = 3;

/// What a fleet went through.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The least that was left of a credential, in seconds, as its clients saw it; those that had none yet do not count.
    pub(crate) least_left: f64,
    /// For how long one relay's clients had nothing, at most, in seconds; the first credential's time does not count.
    pub(crate) longest_empty: f64,
    /// When the last of those was served that had nothing.
    pub(crate) last_served: f64,
}

const RELAYS: usize = 100_000;
/// A chained role's longest session (upstreams section 4).
pub(crate) const LIFETIME: Duration = Duration::from_secs(3600);

/// What a fleet is.
#[derive(Clone, Copy)]
pub(crate) struct Fleet {
    /// The upstream that each stage of the chain asks.
    pub(crate) stages: &'static [usize],
    /// Over how many seconds they are started.
    pub(crate) started_within: f64,
}

/// So long an attempt takes that is answered.
const ANSWERED_AFTER: f64 = 0.1;

fn moment(at: f64) -> Moment {
    let boot = Duration::from_secs_f64(at);
    Moment { wall: Timestamp::from_secs(1_800_000_000) + boot, boot }
}

impl Fleet {
    /// Lets it live for so many seconds.
    pub(crate) fn live(&self, until: f64, upstreams: &mut [Upstream; 2], from: f64) -> Seen {
        let mut random = fastrand::Rng::with_seed(7);
        let mut relays: Vec<Relay> = vec![Relay::default(); RELAYS];
        // In microseconds, so that they have an order.
        let micros = |at: f64| (at * 1e6) as u64;
        let mut next: BinaryHeap<Reverse<(u64, usize)>> = (0..RELAYS)
            .map(|relay| Reverse((micros(random.f64() * self.started_within), relay)))
            .collect();
        let mut seen = Seen { least_left: f64::INFINITY, longest_empty: 0.0, last_served: 0.0 };
        while let Some(Reverse((at, number))) = next.pop() {
            let at = at as f64 / 1e6;
            if at >= until {
                break;
            }
            let relay = &mut relays[number];
            let outcome = self.climb(relay, at, upstreams, &mut random);
            let draw = Draw::of(random.f64());
            let done = moment(at + ANSWERED_AFTER);
            let left = relay.held.map(|held| held.expiry().remaining(done));
            let usable = relay.held.is_some_and(|held| !held.serve_until().reached(done));
            let again = match outcome {
                Ok(()) => {
                    if at >= from {
                        seen.note(relay, left, usable, at);
                    }
                    let life = Lifetime::from_request(moment(at), LIFETIME, None);
                    relay.held = Some(life);
                    relay.pace.succeeded(&Validity::Until(life), done, draw)
                }
                Err(cause) => {
                    let left = left.filter(|_| usable);
                    relay.pace.failed(cause, Duration::ZERO, left, done, draw)
                }
            };
            next.push(Reverse((micros(seconds(again)), number)));
        }
        seen
    }

    /// Goes from the furthest stage that is fresh to the last one, as `chain` does.
    fn climb(
        &self,
        relay: &mut Relay,
        at: f64,
        upstreams: &mut [Upstream; 2],
        random: &mut fastrand::Rng,
    ) -> Result<(), Cause> {
        let now = moment(at);
        let last = self.stages.len() - 1;
        let fresh = |kept: &Option<(Lifetime, Moment)>| {
            kept.is_some_and(|(life, due)| !due.reached(now) && !life.serve_until().reached(now))
        };
        let first = relay.kept.iter().take(last).rposition(fresh).map_or(0, |place| place + 1);
        for (place, upstream) in self.stages.iter().enumerate().skip(first) {
            let asked = upstreams[*upstream].call(at);
            if place == last {
                return asked;
            }
            match asked {
                Ok(()) => {
                    let life = Lifetime::from_request(now, LIFETIME, None);
                    let due = schedule::due(&Validity::Until(life), now, Draw::of(random.f64()));
                    relay.kept[place] = Some((life, due));
                }
                // Trouble of the upstream's is gone over while what it gave before is good.
                Err(Cause::Denied) => return Err(Cause::Denied),
                Err(cause) => match relay.kept[place] {
                    Some((life, _)) if !life.serve_until().reached(now) => {}
                    Some(_) | None => return Err(cause),
                },
            }
        }
        Ok(())
    }
}

fn seconds(moment: Moment) -> f64 {
    moment.boot.as_secs_f64()
}

impl Seen {
    fn note(&mut self, relay: &Relay, left: Option<Duration>, usable: bool, at: f64) {
        let Some(left) = left else {
            self.last_served = self.last_served.max(at);
            return;
        };
        if usable {
            self.least_left = self.least_left.min(left.as_secs_f64());
        } else {
            self.least_left = 0.0;
            self.last_served = self.last_served.max(at);
            let since = relay.held.map_or(at, |held| seconds(held.serve_until()));
            self.longest_empty = self.longest_empty.max(at - since);
        }
    }
}
