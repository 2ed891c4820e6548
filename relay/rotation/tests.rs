//! Rotation on paused time, over a source that follows a script.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, advance};

use super::*;
use crate::clock::{ManualClock, Timestamp};
use crate::credential::fixtures;
use crate::metrics::Metrics;
use crate::sources::Fetch;
use crate::store::{self, Health, Reader};

/// One step of a script.
enum Step {
    Session(Duration),
    /// The keys of the first call once more.
    First(Duration),
    Fail(Cause),
    Hang,
    Panic,
}

/// What a scripted source has seen.
#[derive(Default)]
struct Seen {
    script: VecDeque<Step>,
    calls: Vec<(Instant, Freshness)>,
    under_way: u32,
    most_under_way: u32,
}

#[derive(Clone)]
struct Scripted {
    seen: Arc<Mutex<Seen>>,
    clock: Clock,
}

impl Source for Scripted {
    fn kind(&self) -> &'static str {
        "scripted"
    }

    fn fetch(&mut self, freshness: Freshness) -> Fetch<'_> {
        Box::pin(async move {
            let (step, number) = {
                let mut seen = self.seen.lock().unwrap();
                seen.calls.push((Instant::now(), freshness));
                seen.under_way += 1;
                seen.most_under_way = seen.most_under_way.max(seen.under_way);
                let number = u32::try_from(seen.calls.len()).unwrap();
                (seen.script.pop_front().unwrap_or(Step::Hang), number)
            };
            let started = self.clock.now();
            sleep(Duration::from_millis(10)).await;
            let answer = match step {
                Step::Session(lifetime) => Ok(fixtures::session(number, started, lifetime)),
                Step::First(lifetime) => Ok(fixtures::session(1, started, lifetime)),
                Step::Fail(cause) => {
                    Err(Failure::new(cause, Stage::Base("scripted"), "as the script says"))
                }
                Step::Hang => std::future::pending().await,
                Step::Panic => panic!("as the script says"),
            };
            self.seen.lock().unwrap().under_way -= 1;
            answer
        })
    }
}

struct Bench {
    manual: ManualClock,
    clock: Clock,
    reader: Reader,
    seen: Arc<Mutex<Seen>>,
    metrics: Metrics,
    started: Instant,
}

fn start(script: impl IntoIterator<Item = Step>) -> Bench {
    let manual = ManualClock::starting_at(Timestamp::from_secs(1_000_000));
    let clock = manual.clock();
    let (publisher, reader) = store::channel(clock.now().wall);
    let seen =
        Arc::new(Mutex::new(Seen { script: script.into_iter().collect(), ..Seen::default() }));
    let metrics = Metrics::new();
    let profile: ProfileName = "payments".parse().unwrap();
    let rotation = Rotation {
        metrics: metrics.profile(&profile),
        audit: crate::audit::Audit::Off,
        profile,
        source: Box::new(Scripted { seen: Arc::clone(&seen), clock: clock.clone() }),
        long_lived_keys: LongLivedKeys::Refused,
        proof: None,
        suspicion: Suspicion::None,
        publisher,
        clock: clock.clone(),
        attempt_timeout: Duration::from_secs(30),
    };
    tokio::spawn(rotation.run());
    Bench { manual, clock, reader, seen, metrics, started: Instant::now() }
}

impl Bench {
    /// Lets time pass in small steps, as it does, and looks at each that nothing dead is served.
    async fn pass(&self, secs: u64) {
        for _ in 0..secs * 4 {
            advance(Duration::from_millis(250)).await;
            tokio::task::yield_now().await;
            let now = self.clock.now();
            if let View::Ready(served, _) = self.reader.borrow().view(now) {
                let left = served.credential().remaining(now).unwrap();
                assert!(!left.is_zero(), "an expired credential was served");
            }
        }
    }

    fn calls(&self) -> Vec<Duration> {
        self.seen.lock().unwrap().calls.iter().map(|(at, _)| *at - self.started).collect()
    }

    fn key(&self) -> Option<String> {
        match self.reader.borrow().view(self.clock.now()) {
            View::Ready(served, _) => Some(served.credential().access_key_id.to_string()),
            View::Pending | View::Expired | View::Unavailable(_) => None,
        }
    }
}

fn key(n: u32) -> Option<String> {
    Some(format!("ASIATESTTESTTES{n:05}"))
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn it_renews_at_half_of_an_hour_and_a_tenth_earlier_at_most() {
    let bench = start([Step::Session(HOUR), Step::Session(HOUR), Step::Session(HOUR)]);
    bench.pass(3600).await;
    let calls = bench.calls();
    assert_eq!(calls.len(), 3, "{calls:?}");
    for pair in calls.windows(2) {
        let apart = (pair[1] - pair[0]).as_secs();
        assert!((1439..=1806).contains(&apart), "{apart} s apart");
    }
    assert_eq!(bench.key(), key(3));
}

#[tokio::test(start_paused = true)]
async fn a_failure_keeps_the_old_credential_and_it_heals() {
    let fails = (0..5).map(|_| Step::Fail(Cause::Unreachable));
    let script = std::iter::once(Step::Session(HOUR)).chain(fails).chain([Step::Session(HOUR)]);
    let bench = start(script);
    bench.pass(1).await;
    assert_eq!(bench.key(), key(1));
    while bench.calls().len() < 4 {
        bench.pass(1).await;
    }
    assert_eq!(bench.key(), key(1));
    assert!(matches!(
        *bench.reader.borrow(),
        Snapshot::Available(_, Health::Failing(ref failure)) if failure.cause == Cause::Unreachable
    ));
    bench.pass(120).await;
    assert_eq!(bench.key(), key(7));
    assert!(matches!(*bench.reader.borrow(), Snapshot::Available(_, Health::Renewing)));
}

#[tokio::test(start_paused = true)]
async fn an_expired_credential_is_withdrawn_while_the_upstream_is_down() {
    let fails = (0..1000).map(|_| Step::Fail(Cause::Unreachable));
    let bench = start(std::iter::once(Step::Session(HOUR)).chain(fails));
    bench.pass(3584).await;
    assert_eq!(bench.key(), key(1), "a valid one is never withheld");
    bench.pass(2).await;
    assert_eq!(bench.key(), None, "15 s before its end it counts as expired");
    bench.pass(60).await;
    assert!(matches!(*bench.reader.borrow(), Snapshot::Unavailable(_)));
}

#[tokio::test(start_paused = true)]
async fn keys_that_come_again_after_a_gap_are_not_handed_out_for_the_first_time() {
    let first_use = |bench: &Bench| match bench.reader.borrow().view(bench.clock.now()) {
        View::Ready(served, _) => served.first_use(),
        View::Pending | View::Expired | View::Unavailable(_) => panic!("nothing is held"),
    };
    let fails = (0..1000).map(|_| Step::Fail(Cause::Unreachable));
    let bench = start(std::iter::once(Step::Session(HOUR)).chain(fails));
    bench.pass(1).await;
    assert!(first_use(&bench));
    bench.pass(3700).await;
    assert!(matches!(*bench.reader.borrow(), Snapshot::Unavailable(_)));
    bench.seen.lock().unwrap().script = [Step::First(HOUR), Step::Session(HOUR)].into();
    bench.pass(120).await;
    assert_eq!(bench.key(), key(1));
    assert!(!first_use(&bench));
    bench.reader.rotate().await.unwrap();
    assert!(first_use(&bench), "others are");
}

#[tokio::test(start_paused = true)]
async fn the_back_off_is_really_slept() {
    let fails = (0..1000).map(|_| Step::Fail(Cause::Transient));
    let bench = start(fails);
    bench.pass(600).await;
    let calls = bench.calls();
    // Full jitter waits half of 1, 2, 4, 8, 16, 32 and then 60 s on average: about 26 calls.
    assert!((8..=60).contains(&calls.len()), "{} calls in 600 s", calls.len());
    for pair in calls.windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_millis(250), "{pair:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_last_call_is_made_a_minute_before_the_end() {
    // Only a person can heal this, so it is tried every 30 to 60 s: the last try falls where it
    // falls, but for the rule that one is made with a minute left.
    let fails = (0..1000).map(|_| Step::Fail(Cause::Misconfigured));
    let bench = start(std::iter::once(Step::Session(HOUR)).chain(fails));
    bench.pass(3600).await;
    let at_a_minute = bench
        .calls()
        .iter()
        .any(|at| at.abs_diff(Duration::from_secs(3540)) < Duration::from_secs(2));
    assert!(at_a_minute, "{:?}", bench.calls());
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_hangs_or_panics_ends_and_is_tried_again() {
    let bench = start([Step::Hang, Step::Panic, Step::Session(HOUR)]);
    bench.pass(29).await;
    assert_eq!(bench.calls().len(), 1);
    bench.pass(15).await;
    assert_eq!(bench.key(), key(3));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_was_suspended_renews_when_it_wakes() {
    let bench = start([Step::Session(HOUR), Step::Session(HOUR)]);
    bench.pass(1).await;
    bench.manual.suspend(2 * HOUR);
    assert_eq!(bench.key(), None, "it has ended while the machine slept");
    assert!(matches!(bench.reader.borrow().view(bench.clock.now()), View::Expired));
    bench.pass(6).await;
    assert_eq!(bench.key(), key(2));
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_stepped_back_prolongs_nothing() {
    let bench = start([Step::Session(HOUR), Step::Session(HOUR)]);
    bench.pass(1).await;
    bench.manual.step_wall(-7_200_000);
    bench.pass(1810).await;
    assert_eq!(bench.key(), key(2));
}

#[tokio::test(start_paused = true)]
async fn five_hundred_readers_and_askers_make_one_flight_at_a_time() {
    let bench = start((0..600).map(|_| Step::Session(HOUR)));
    let mut waiting = Vec::new();
    for _ in 0..500 {
        let mut reader = bench.reader.clone();
        waiting.push(tokio::spawn(async move {
            reader.until(|snapshot| matches!(snapshot, Snapshot::Available(..))).await;
        }));
    }
    for task in waiting {
        task.await.unwrap();
    }
    assert_eq!(bench.calls().len(), 1, "five hundred waited for one fetch");

    let mut asking = Vec::new();
    for _ in 0..20 {
        let reader = bench.reader.clone();
        asking.push(tokio::spawn(async move { reader.rotate().await.is_ok() }));
    }
    for task in asking {
        assert!(task.await.unwrap());
    }
    assert_eq!(bench.seen.lock().unwrap().most_under_way, 1);
}

#[tokio::test(start_paused = true)]
async fn who_asks_gets_a_credential_that_is_new_from_the_base_on() {
    let bench = start([Step::Session(HOUR), Step::Session(HOUR), Step::Fail(Cause::Denied)]);
    bench.pass(1).await;
    let served = bench.reader.rotate().await.unwrap();
    assert_eq!(Some(served.credential().access_key_id.to_string()), key(2));
    assert_eq!(bench.seen.lock().unwrap().calls[1].1, Freshness::Anew);
    let failure = bench.reader.rotate().await.unwrap_err();
    assert_eq!(failure.cause, Cause::Denied);
    assert_eq!(bench.key(), key(2), "the one from before stays");
}

#[test]
fn keys_that_break_sdks_are_served_only_where_it_was_asked_for() {
    let now = Moment { wall: Timestamp::from_secs(1), boot: Duration::ZERO };
    let session = fixtures::session(1, now, HOUR);
    assert!(accept(session.clone(), &LongLivedKeys::Refused).is_ok());
    let endless = Credential { validity: Validity::Unlimited, ..session.clone() };
    let bare = Credential { session: Session::None, ..session };
    for (keys, lacks) in [(endless, "no expiry"), (bare, "no session token")] {
        assert!(accept(keys.clone(), &LongLivedKeys::Served).is_ok());
        let failure = accept(keys, &LongLivedKeys::Refused).unwrap_err();
        assert!(failure.reason.contains(lacks), "{failure}");
        assert_eq!(failure.cause, Cause::Misconfigured);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_has_expired_already_is_not_published() {
    let bench = start([Step::Session(Duration::ZERO), Step::Session(HOUR)]);
    bench.pass(5).await;
    assert_eq!(bench.key(), key(2));
    let text = bench.metrics.render();
    assert!(text.contains(r#"refreshes_total{profile="payments",result="transient"} 1"#), "{text}");
}

/// What each profile costs as long as it lives (docs/performance.md).
#[test]
fn a_rotation_that_waits_is_small() {
    fn given<T>(_: impl Fn(Rotation) -> T) -> usize {
        std::mem::size_of::<T>()
    }
    let bytes = given(Rotation::run);
    assert!(bytes <= 768, "{bytes} bytes: keep what is rare on the heap for its time alone");
}
