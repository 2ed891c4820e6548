//! Chains over keys of a user that were made a moment ago, as Vault makes them: through the real
//! STS client, against the embedded STS over real sockets.

#![allow(clippy::unwrap_used, reason = "a bench that cannot be set up must end")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{HUB, SPOKE, USER_KEY, USER_SECRET, World, parse, two_hops};
use credential_relay::app::assemble::Workshop;
use credential_relay::chain::exchange::Exchange;
use credential_relay::chain::hop::Hop;
use credential_relay::chain::{Chain, Step};
use credential_relay::clock::Clock;
use credential_relay::config::{PropagationCheck, Sts};
use credential_relay::credential::{
    AccessKeyId, Credential, Lifetime, Principal, Propagation, Secret, Session, Validity,
};
use credential_relay::dev::sts::{Action, Fault, FaultKind, IssuedLifetime};
use credential_relay::failure::{Cause, Failure, Stage};
use credential_relay::rotation::probe::Probe;
use credential_relay::sources::{Fetch, Freshness, Source, Suspect};
use credential_relay::sts::Clients;
use credential_relay::transport::Transports;
use futures_util::FutureExt;
use tokio::sync::mpsc;

/// Gives the upstream's user, as if it had been made by this fetch.
struct Users {
    clock: Clock,
    life: Duration,
    session: Session,
    fetches: Arc<Mutex<Vec<Freshness>>>,
    dead: mpsc::UnboundedReceiver<AccessKeyId>,
}

impl Source for Users {
    fn kind(&self) -> &'static str {
        "users"
    }

    fn fetch(&mut self, freshness: Freshness) -> Fetch<'_> {
        self.fetches.lock().unwrap().push(freshness);
        let life = Lifetime::from_request(self.clock.now(), self.life, None);
        Box::pin(std::future::ready(Ok(Credential {
            access_key_id: USER_KEY.parse().unwrap(),
            secret_access_key: Secret::new(USER_SECRET.to_owned()),
            session: self.session.clone(),
            validity: Validity::Until(life),
            principal: Principal::Unknown,
            propagation: Propagation::Pending,
        })))
    }

    fn suspect(&mut self) -> Suspect<'_> {
        Box::pin(async { self.dead.recv().await.unwrap() })
    }
}

struct Bench {
    world: World,
    chain: Chain,
    fetches: Arc<Mutex<Vec<Freshness>>>,
    dead: mpsc::UnboundedSender<AccessKeyId>,
}

const HOUR: Duration = Duration::from_secs(3600);

impl Bench {
    /// A chain over new keys that live for `life`.
    async fn start(
        life: Duration,
        session: Session,
        steps: impl FnOnce(&World, &mut Clients) -> Vec<Step>,
    ) -> Self {
        let world = World::start(IssuedLifetime::AsAsked).await;
        let fetches = Arc::default();
        let (dead, heard) = mpsc::unbounded_channel();
        let users = Users {
            clock: world.clock.clone(),
            life,
            session,
            fetches: Arc::clone(&fetches),
            dead: heard,
        };
        let steps = steps(&world, &mut Clients::new(Transports::default()));
        let chain = Chain::new(Box::new(users), steps, world.clock.clone());
        Self { world, chain, fetches, dead }
    }

    async fn hops(life: Duration) -> Self {
        Self::start(life, Session::None, |world, clients| {
            let config = world.config(&two_hops());
            let (name, profile) = config.profiles.first_key_value().unwrap();
            let metrics = world.metrics.profile(name);
            let hops = profile.chain.iter().zip(1..);
            hops.map(|(hop, n)| Step::Hop(Hop::new(hop, n, clients, metrics.clone()).unwrap()))
                .collect()
        })
        .await
    }

    async fn exchange(life: Duration, session: Session) -> Self {
        Self::start(life, session, |world, clients| {
            let metrics = world.metrics.profile(&"payments".parse().unwrap());
            let exchange = Exchange::new(12 * HOUR, &sts_of(world), clients, metrics).unwrap();
            vec![Step::Exchange(exchange)]
        })
        .await
    }

    async fn fetch(&mut self) -> Result<Credential, Failure> {
        self.chain.fetch(Freshness::Reuse).await
    }

    fn fetches(&self) -> Vec<Freshness> {
        self.fetches.lock().unwrap().clone()
    }

    fn strike(&self, kind: FaultKind) {
        self.world.sts.faults().set(vec![Fault::every(kind)]);
    }

    fn calm(&self) {
        self.world.sts.faults().set(Vec::new());
    }

    fn kill(&self) {
        self.dead.send(USER_KEY.parse().unwrap()).unwrap();
    }
}

/// How many seconds old the keys are by a failure's words: the clock goes on while a machine is busy.
fn age(failure: &Failure) -> u64 {
    let (before, _) = failure.reason.split_once(" s old").unwrap();
    before.rsplit(' ').next().unwrap().parse().unwrap()
}

/// The upstream, as a configuration names it.
fn sts_of(world: &World) -> Sts {
    parse(&world.text(&[("payments", &two_hops())])).sts.unwrap()
}

#[tokio::test]
async fn new_keys_that_are_not_known_yet_may_heal_and_no_others_are_made() {
    let mut bench = Bench::hops(10 * HOUR).await;
    for kind in [FaultKind::ExpiredToken, FaultKind::AccessDenied] {
        bench.strike(kind);
        let failure = bench.fetch().await.unwrap_err();
        assert_eq!(failure.cause, Cause::StaleCaller, "{failure}");
        assert_eq!(failure.stage, Stage::Hop { number: 1, role: HUB.to_owned() });
        let words = format!("the keys {USER_KEY} that called are ");
        assert!(failure.reason.contains(&words), "{failure}");
        assert!(failure.reason.contains(" s old, and IAM may not know them"), "{failure}");
        assert!(age(&failure) < 60, "{failure}");
    }
    bench.world.pass(2);
    let failure = bench.fetch().await.unwrap_err();
    assert_eq!(failure.cause, Cause::Denied, "after a minute it is somebody's will");
    bench.strike(FaultKind::ExpiredToken);
    let failure = bench.fetch().await.unwrap_err();
    assert!((120..180).contains(&age(&failure)), "{failure}");
    assert_eq!(bench.fetches(), [Freshness::Reuse], "no user more");

    bench.calm();
    bench.fetch().await.unwrap();
    bench.world.pass(31);
    bench.strike(FaultKind::ExpiredToken);
    let failure = bench.fetch().await.unwrap_err();
    assert!(age(&failure) < 60, "{failure}");
    let fetches = [Freshness::Reuse, Freshness::Anew];
    assert_eq!(bench.fetches(), fetches, "keys that were accepted once, and are no longer");
}

#[tokio::test]
async fn a_denial_of_the_second_hop_has_nothing_to_do_with_new_keys() {
    let mut bench = Bench::hops(10 * HOUR).await;
    bench.fetch().await.unwrap();
    bench.strike(FaultKind::AccessDenied);
    let failure = bench.fetch().await.unwrap_err();
    assert_eq!(failure.stage, Stage::Hop { number: 2, role: SPOKE.to_owned() });
    assert_eq!(failure.cause, Cause::Denied);
}

#[tokio::test]
async fn the_death_of_a_hops_user_wakes_nobody_and_is_remembered() {
    let mut bench = Bench::hops(10 * HOUR).await;
    let first = bench.fetch().await.unwrap();
    assert_eq!(first.propagation, Propagation::Done, "a role's session is known at once");
    bench.kill();
    assert!(bench.chain.suspect().now_or_never().is_none());
    bench.fetch().await.unwrap();
    assert_eq!(bench.fetches().len(), 1, "the hub's session is fresh, and outlives the user");
    bench.world.pass(31);
    bench.fetch().await.unwrap();
    assert_eq!(bench.fetches(), [Freshness::Reuse; 2]);
}

#[tokio::test]
async fn keys_are_exchanged_for_a_session_that_ends_with_them() {
    let mut bench = Bench::exchange(2 * HOUR, Session::None).await;
    let session = bench.fetch().await.unwrap();
    assert!(matches!(session.session, Session::Token(_)));
    assert_ne!(session.access_key_id.as_str(), USER_KEY);
    assert_eq!(session.propagation, Propagation::Pending, "as new as its user");
    let left = session.remaining(bench.world.clock.now()).unwrap();
    assert!(left <= 2 * HOUR && left > HOUR, "{left:?}");

    bench.world.pass(30);
    let next = bench.fetch().await.unwrap();
    assert_eq!(next.propagation, Propagation::Done, "its user was accepted before");
    assert!(next.remaining(bench.world.clock.now()).unwrap() <= HOUR + HOUR / 2);
    assert_eq!(bench.fetches().len(), 1, "a renewal makes no user");
    bench.world.pass(60);
    let renewed = bench.fetch().await.unwrap();
    assert_eq!(bench.fetches(), [Freshness::Reuse; 2]);
    assert_eq!(renewed.propagation, Propagation::Done, "the lease was renewed, for the same keys");
    let text = bench.world.metrics.render();
    assert!(text.contains(r#"operation="GetSessionToken",result="success"} 3"#), "{text}");
}

#[tokio::test]
async fn an_exchange_with_new_keys_may_heal_and_says_where_it_failed() {
    let mut bench = Bench::exchange(2 * HOUR, Session::None).await;
    bench.strike(FaultKind::ExpiredToken);
    let failure = bench.fetch().await.unwrap_err();
    assert_eq!(failure.cause, Cause::StaleCaller);
    let said = failure.to_string();
    assert!(said.starts_with("sts GetSessionToken: STS answered 403 ExpiredToken"), "{said}");
    assert!(age(&failure) < 60, "{said}");
    bench.calm();
    bench.fetch().await.unwrap();
    assert_eq!(bench.fetches().len(), 1);
}

#[tokio::test]
async fn a_session_of_the_user_is_suspect_with_its_user() {
    let mut bench = Bench::exchange(2 * HOUR, Session::None).await;
    let session = bench.fetch().await.unwrap();
    bench.kill();
    assert_eq!(bench.chain.suspect().await, session.access_key_id);
    bench.fetch().await.unwrap();
    assert_eq!(bench.fetches(), [Freshness::Reuse; 2], "the dead user is not exchanged again");
}

#[tokio::test]
async fn keys_that_are_a_session_already_pass_as_they_are() {
    let token = Session::Token(Secret::new("a-token".to_owned()));
    let mut bench = Bench::exchange(2 * HOUR, token).await;
    for fetches in 1..3 {
        let passed = bench.fetch().await.unwrap();
        assert_eq!(passed.access_key_id.as_str(), USER_KEY);
        assert_eq!(bench.fetches().len(), fetches);
    }
    bench.kill();
    assert_eq!(bench.chain.suspect().await.as_str(), USER_KEY);
    assert_eq!(bench.world.sts.ledger().count(Action::GetSessionToken), 0);
}

#[tokio::test]
async fn the_probe_asks_who_the_caller_is_and_counts_it() {
    let mut bench = Bench::hops(HOUR).await;
    let config = bench.world.config("[]");
    let (name, profile) = config.profiles.first_key_value().unwrap();
    let mut profile = profile.clone();
    profile.propagation =
        PropagationCheck::On { successes: 5, settle: HOUR, sts: sts_of(&bench.world) };
    let mut workshop = Workshop::new(bench.world.clock.clone(), bench.world.metrics.clone(), &[]);
    let proof = workshop.proof(name, &profile).unwrap().unwrap();
    let credential = bench.fetch().await.unwrap();
    let probe: &dyn Probe = proof.probe.as_ref();
    probe.ask(&credential).await.unwrap();
    bench.strike(FaultKind::ExpiredToken);
    let failure = probe.ask(&credential).await.unwrap_err();
    assert_eq!(
        (failure.cause, failure.stage),
        (Cause::StaleCaller, Stage::Sts("GetCallerIdentity"))
    );
    let text = bench.world.metrics.render();
    for result in ["success", "stale_caller"] {
        let line = format!(r#"upstream="sts",operation="GetCallerIdentity",result="{result}"}} 1"#);
        assert!(text.contains(&line), "{text}");
    }
}
