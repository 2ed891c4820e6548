//! Trials on paused time: a source that gives keys in turn, and a probe that knows what it is told.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, advance, sleep};

use super::*;
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::config::LongLivedKeys;
use crate::config::values::ProfileName;
use crate::credential::{Session, fixtures};
use crate::failure::Outlook;
use crate::metrics::Metrics;
use crate::rotation::Suspicion;
use crate::sources::{Fetch, Freshness, Source, Suspect};
use crate::store::{self, Health, Reader};

const HOUR: Duration = Duration::from_secs(3600);

/// What the source and the probe share with the test.
#[derive(Default)]
struct World {
    /// The keys that the source gives, by number and lifetime; the last again and again.
    keys: VecDeque<(u32, Duration)>,
    /// Whether they lack a session token.
    bare: bool,
    fetches: Vec<Freshness>,
    /// What AWS says of a key; it knows those that are not here.
    answers: HashMap<String, VecDeque<Option<Cause>>>,
    /// Every question, and when it was asked.
    asked: Vec<(Instant, String)>,
}

type Shared = Arc<Mutex<World>>;

struct Users {
    world: Shared,
    clock: Clock,
    dead: mpsc::UnboundedReceiver<AccessKeyId>,
}

impl Source for Users {
    fn kind(&self) -> &'static str {
        "users"
    }

    fn fetch(&mut self, freshness: Freshness) -> Fetch<'_> {
        Box::pin(async move {
            sleep(Duration::from_millis(10)).await;
            let mut world = self.world.lock().unwrap();
            world.fetches.push(freshness);
            let (number, lifetime) = match world.keys.len() {
                1 => world.keys[0],
                _ => world.keys.pop_front().unwrap(),
            };
            let keys = fixtures::session(number, self.clock.now(), lifetime);
            let session = if world.bare { Session::None } else { keys.session.clone() };
            Ok(Credential { propagation: Propagation::Pending, session, ..keys })
        })
    }

    fn suspect(&mut self) -> Suspect<'_> {
        Box::pin(async {
            match self.dead.recv().await {
                Some(id) => id,
                None => std::future::pending().await,
            }
        })
    }
}

struct Aws(Shared);

impl Probe for Aws {
    fn ask<'a>(&'a self, credential: &'a Credential) -> Asked<'a> {
        Box::pin(async {
            let id = credential.access_key_id.to_string();
            let mut world = self.0.lock().unwrap();
            world.asked.push((Instant::now(), id.clone()));
            // The last answer stands.
            let answer = match world.answers.get_mut(&id) {
                None => None,
                Some(answers) if answers.len() == 1 => answers[0],
                Some(answers) => answers.pop_front().unwrap(),
            };
            match answer {
                None => Ok(()),
                Some(cause) => Err(Failure::new(cause, Stage::Sts("test"), "as the test says")),
            }
        })
    }
}

struct Bench {
    manual: ManualClock,
    clock: Clock,
    reader: Reader,
    world: Shared,
    metrics: Metrics,
    dead: mpsc::UnboundedSender<AccessKeyId>,
}

fn id(number: u32) -> String {
    format!("ASIATESTTESTTES{number:05}")
}

const UNKNOWN: Option<Cause> = Some(Cause::StaleCaller);

/// A rotation over these keys, with these answers about them.
fn start(keys: &[(u32, Duration)], answers: &[(u32, &[Option<Cause>])]) -> Bench {
    let manual = ManualClock::starting_at(Timestamp::from_secs(1_000_000));
    let clock = manual.clock();
    let (publisher, reader) = store::channel(clock.now().wall);
    let answers = answers.iter().map(|(n, said)| (id(*n), said.iter().copied().collect()));
    let world: Shared = Arc::new(Mutex::new(World {
        keys: keys.iter().copied().collect(),
        answers: answers.collect(),
        ..World::default()
    }));
    let metrics = Metrics::new();
    let profile: ProfileName = "payments".parse().unwrap();
    let (dead, heard) = mpsc::unbounded_channel();
    let rotation = Rotation {
        metrics: metrics.profile(&profile),
        audit: crate::audit::Audit::Off,
        profile,
        source: Box::new(Users { world: Arc::clone(&world), clock: clock.clone(), dead: heard }),
        long_lived_keys: LongLivedKeys::Refused,
        proof: Some(Proof {
            successes: 5,
            settle: Duration::from_secs(5),
            probe: Arc::new(Aws(Arc::clone(&world))),
        }),
        suspicion: Suspicion::None,
        publisher,
        clock: clock.clone(),
        attempt_timeout: Duration::from_secs(30),
    };
    tokio::spawn(rotation.run());
    Bench { manual, clock, reader, world, metrics, dead }
}

impl Bench {
    async fn pass(&self, secs: u64) {
        for _ in 0..secs * 8 {
            advance(Duration::from_millis(125)).await;
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        }
    }

    /// Lets time pass until the key of this number is served, and says whether it ever is.
    async fn serves(&self, number: u32, within: u64) -> bool {
        for _ in 0..within {
            if self.key().as_deref() == Some(&*id(number)) {
                return true;
            }
            self.pass(1).await;
        }
        false
    }

    fn key(&self) -> Option<String> {
        match self.reader.borrow().view(self.clock.now()) {
            View::Ready(served, _) => Some(served.credential().access_key_id.to_string()),
            View::Pending | View::Expired | View::Unavailable(_) => None,
        }
    }

    fn failure(&self) -> Option<Arc<Failure>> {
        match self.reader.borrow().view(self.clock.now()) {
            View::Unavailable(failure) | View::Ready(_, Health::Failing(failure)) => {
                Some(Arc::clone(failure))
            }
            View::Ready(_, Health::Renewing) | View::Pending | View::Expired => None,
        }
    }

    fn fetches(&self) -> usize {
        self.world.lock().unwrap().fetches.len()
    }

    /// When AWS was asked about a key, in seconds between the questions.
    fn gaps(&self, number: u32) -> Vec<f64> {
        let world = self.world.lock().unwrap();
        let of_it: Vec<_> = world.asked.iter().filter(|(_, asked)| *asked == id(number)).collect();
        of_it.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs_f64()).collect()
    }

    fn proving(&self) -> Option<String> {
        match self.reader.plan() {
            Plan::Proving { access_key_id, .. } => Some(access_key_id.to_string()),
            Plan::Fetching(_) | Plan::Renew(_) | Plan::Retry(_) => None,
        }
    }

    fn counted(&self, line: &str) -> bool {
        self.metrics.render().contains(line)
    }

    fn kill(&self, number: u32) {
        self.dead.send(id(number).parse().unwrap()).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_key_is_served_after_five_successes_and_a_settling_delay() {
    let bench = start(&[(1, HOUR)], &[]);
    bench.pass(8).await;
    assert_eq!(bench.key(), None);
    let failure = bench.failure().unwrap();
    assert_eq!(failure.cause.outlook(), Outlook::MayHeal);
    assert!(failure.reason.contains("known it 5 times in a row"), "{failure}");
    assert_eq!(bench.proving(), Some(id(1)));
    bench.pass(2).await;
    assert_eq!(bench.key(), Some(id(1)));
    let gaps = bench.gaps(1);
    assert_eq!(gaps.len(), 4, "five questions and no more");
    assert!(gaps.iter().all(|gap| (0.9..1.3).contains(gap)), "{gaps:?}");
    assert!(bench.counted(r#"propagation_checks_total{profile="payments",result="known"} 1"#));
    assert!(bench.counted(r#"propagation_seconds{profile="payments"} 9"#));
    assert_eq!(bench.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_starts_the_count_again_and_the_same_key_is_asked_about() {
    let denied = Some(Cause::Denied);
    let answers = [UNKNOWN, None, None, None, None, denied, UNKNOWN, None];
    let bench = start(&[(1, HOUR), (2, HOUR)], &[(1, &answers)]);
    bench.pass(3).await;
    assert!(bench.serves(1, 40).await);
    assert_eq!(bench.gaps(1).len(), 7 + 5 - 1, "eleven pauses between twelve questions");
    assert_eq!(bench.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_served_a_key_that_aws_does_not_know() {
    let bench = start(&[(1, HOUR)], &[(1, &[Some(Cause::Denied)])]);
    bench.pass(30).await;
    let failure = bench.failure().unwrap();
    assert_eq!(failure.cause, Cause::StaleCaller, "a denial may heal here");
    assert!(failure.reason.contains("AWS does not know the new key"), "{failure}");
    assert!(!bench.counted(r#"result="late""#));
    bench.pass(600).await;
    assert_eq!((bench.key(), bench.fetches()), (None, 1), "it is not given up");
    assert!(bench.counted(r#"propagation_checks_total{profile="payments",result="late"} 1"#));
    let gaps = bench.gaps(1);
    assert!((10..60).contains(&gaps.len()), "{gaps:?}");
    assert!(gaps.iter().all(|gap| (0.25..61.0).contains(gap)), "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn the_old_key_is_served_while_its_successor_is_tried_out() {
    let bench = start(&[(1, HOUR), (2, HOUR)], &[(2, &[UNKNOWN])]);
    assert!(bench.serves(1, 20).await);
    while bench.proving() != Some(id(2)) {
        bench.pass(1).await;
    }
    bench.pass(40).await;
    assert_eq!((bench.key(), bench.failure()), (Some(id(1)), None), "no trouble yet");
    bench.pass(120).await;
    assert_eq!(bench.key(), Some(id(1)));
    assert!(bench.failure().is_some(), "it takes long");
    bench.world.lock().unwrap().answers.clear();
    assert!(bench.serves(2, 80).await);
    assert_eq!((bench.failure(), bench.fetches()), (None, 2));
}

#[tokio::test(start_paused = true)]
async fn what_says_nothing_of_the_key_is_trouble_at_once() {
    let throttled = Some(Cause::Throttled { retry_after: Some(Duration::from_secs(20)) });
    let bench = start(&[(1, HOUR), (2, HOUR)], &[(2, &[throttled, None])]);
    assert!(bench.serves(1, 20).await);
    while bench.proving() != Some(id(2)) {
        bench.pass(1).await;
    }
    bench.pass(1).await;
    let failure = bench.failure().unwrap();
    assert!(failure.reason.contains("could not be asked"), "{failure}");
    assert!(bench.serves(2, 40).await);
    assert!(bench.gaps(2)[0] >= 20.0, "as STS asked");
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_a_rotation_meanwhile_waits_for_the_outcome() {
    let bench = start(&[(1, HOUR), (2, HOUR), (3, HOUR)], &[]);
    assert!(bench.serves(1, 20).await);
    let mut asks = Box::pin(bench.reader.rotate());
    assert!((&mut asks).now_or_never().is_none());
    bench.pass(3).await;
    assert_eq!((bench.proving(), bench.key()), (Some(id(2)), Some(id(1))));
    let mut late = Box::pin(bench.reader.rotate());
    assert!((&mut late).now_or_never().is_none());
    bench.pass(12).await;
    for outcome in [asks.now_or_never(), late.now_or_never()] {
        let served = outcome.unwrap().unwrap();
        assert_eq!(served.credential().access_key_id.as_str(), id(2));
    }
    assert_eq!(bench.world.lock().unwrap().fetches, [Freshness::Reuse, Freshness::Anew]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_ends_before_aws_knows_it_is_dropped_for_another() {
    let bench = start(&[(1, Duration::from_secs(100)), (2, HOUR)], &[(1, &[UNKNOWN])]);
    bench.pass(60).await;
    assert_eq!(bench.fetches(), 1);
    assert!(bench.serves(2, 120).await);
    assert!(bench.counted(r#"propagation_checks_total{profile="payments",result="dropped"} 1"#));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_held_already_is_not_tried_again() {
    let bench = start(&[(1, HOUR)], &[]);
    assert!(bench.serves(1, 20).await);
    bench.pass(4000).await;
    assert!(bench.fetches() > 2);
    assert_eq!(bench.gaps(1).len(), 4);
    assert_eq!(bench.key(), Some(id(1)));
}

#[tokio::test(start_paused = true)]
async fn a_suspect_key_that_is_dead_is_withdrawn_and_another_is_fetched_at_once() {
    let bench = start(&[(1, HOUR), (2, HOUR)], &[]);
    assert!(bench.serves(1, 20).await);
    bench.world.lock().unwrap().answers.insert(id(1), [UNKNOWN].into());
    bench.kill(1);
    bench.pass(1).await;
    assert_eq!(bench.key(), None);
    let failure = bench.failure().unwrap();
    assert_eq!(failure.cause, Cause::StaleCaller);
    assert_eq!(bench.world.lock().unwrap().fetches, [Freshness::Reuse; 2]);
    assert!(bench.serves(2, 12).await);
    bench.kill(1);
    bench.pass(5).await;
    assert_eq!(bench.fetches(), 2, "a key that is not held wakes nobody");
}

#[tokio::test(start_paused = true)]
async fn a_suspect_key_that_lives_is_served_until_it_is_dead() {
    let bench = start(&[(1, HOUR), (2, HOUR)], &[(2, &[UNKNOWN])]);
    assert!(bench.serves(1, 20).await);
    bench.kill(1);
    bench.pass(20).await;
    assert_eq!((bench.key(), bench.proving()), (Some(id(1)), Some(id(2))));
    assert!(bench.gaps(1).len() > 3, "it is asked about in each round");
    bench.world.lock().unwrap().answers.insert(id(1), [UNKNOWN].into());
    bench.pass(65).await;
    assert_eq!(bench.key(), None);
    bench.world.lock().unwrap().answers.clear();
    assert!(bench.serves(2, 80).await);
}

#[tokio::test(start_paused = true)]
async fn a_dead_key_is_never_served_again_even_if_the_source_gives_it() {
    let bench = start(&[(1, HOUR)], &[]);
    assert!(bench.serves(1, 20).await);
    bench.world.lock().unwrap().answers.insert(id(1), [UNKNOWN].into());
    bench.kill(1);
    bench.pass(1).await;
    bench.world.lock().unwrap().answers.clear();
    assert!(!bench.serves(1, 300).await);
    assert!(bench.fetches() < 60, "with back-off");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_dies_while_it_is_tried_out_is_dropped_at_once() {
    let bench = start(&[(1, HOUR), (2, HOUR)], &[(1, &[UNKNOWN])]);
    bench.pass(5).await;
    bench.kill(1);
    assert!(bench.serves(2, 15).await);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_through_a_trial_serves_no_dead_key() {
    let bench = start(&[(1, HOUR), (2, HOUR)], &[]);
    bench.pass(2).await;
    bench.manual.suspend(2 * HOUR);
    assert!(bench.serves(2, 30).await);
}

#[tokio::test(start_paused = true)]
async fn users_are_not_made_in_vain_one_after_the_other() {
    let bench = start(&[(1, 24 * HOUR)], &[]);
    bench.world.lock().unwrap().bare = true;
    bench.pass(3500).await;
    assert_eq!((bench.fetches(), bench.key()), (1, None));
    assert!(bench.failure().unwrap().reason.contains("get_session_token"));
    bench.world.lock().unwrap().bare = false;
    assert!(bench.serves(1, 120).await, "and it heals");
}

#[tokio::test(start_paused = true)]
async fn a_command_waits_for_its_own_keys_and_not_for_ever() {
    let manual = ManualClock::starting_at(Timestamp::from_secs(1_000_000));
    let clock = manual.clock();
    let world = Shared::default();
    let proof = Proof {
        successes: 2,
        settle: Duration::from_secs(5),
        probe: Arc::new(Aws(Arc::clone(&world))),
    };
    let keys = |propagation| {
        let keys = fixtures::session(1, clock.now(), HOUR);
        Arc::new(Served::new(Credential { propagation, ..keys }, clock.now()).unwrap())
    };
    let minute = Duration::from_secs(60);
    proof.wait(keys(Propagation::Done), &clock, minute).await.unwrap();
    assert_eq!(world.lock().unwrap().asked.len(), 0);
    proof.wait(keys(Propagation::Pending), &clock, minute).await.unwrap();
    assert_eq!(world.lock().unwrap().asked.len(), 2);
    world.lock().unwrap().answers.insert(id(1), [UNKNOWN].into());
    let failure = proof.wait(keys(Propagation::Pending), &clock, minute).await.unwrap_err();
    assert!(failure.reason.contains("does not know the new key"), "{failure}");
}
