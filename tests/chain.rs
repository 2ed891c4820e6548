//! Chains through the real STS client, against the embedded STS over real sockets.

mod common;

use std::time::Duration;

use common::{HUB, SPOKE, USER_KEY, USER_SECRET, World, two_hops};
use credential_relay::credential::{Credential, Principal, Session};
use credential_relay::dev::sts::{Fault, FaultKind, IssuedLifetime, Outcome};
use credential_relay::failure::{Cause, Failure, Stage};
use credential_relay::sources::{Freshness, Source};
use credential_relay::store::Served;

async fn fetch(source: &mut Box<dyn Source>) -> Result<Credential, Failure> {
    source.fetch(Freshness::Reuse).await
}

#[tokio::test]
async fn two_hops_give_a_session_of_the_last_role() {
    let world = World::start(IssuedLifetime::AsAsked).await;
    let mut source = world.source(&two_hops());
    let credential = fetch(&mut source).await.unwrap();
    assert_eq!(credential.principal, Principal::Role(SPOKE.parse().unwrap()));
    assert_eq!(credential.remaining(world.clock.now()).unwrap().as_secs().div_ceil(60), 60);
    assert_eq!(world.assumed(), ["hub", "spoke"]);
    let text = world.metrics.render();
    assert!(text.contains(r#"upstream_calls_total{profile="payments",upstream="sts",operation="AssumeRole",result="success"} 2"#), "{text}");
}

#[tokio::test]
async fn all_that_a_hop_can_say_arrives() {
    let world = World::start(IssuedLifetime::AsAsked).await;
    let mut source = world.source(&format!(
        "[{{ role_arn: '{HUB}', session_name: 'pay-{{profile}}', duration: 2h, tags: {{ team: pay, app: a }},
             transitive_tags: [team], source_identity: someone, policy_arns: ['arn:aws:iam::aws:policy/ReadOnlyAccess'],
             policy: '{{\"Version\":\"2012-10-17\",\"Statement\":[]}}' }},
           {{ role_arn: '{SPOKE}', session_name: spoke, external_id: open-sesame, duration: 30m }}]"
    ));
    fetch(&mut source).await.unwrap();
    let calls = world.sts.ledger().calls();
    let assumptions: Vec<_> = calls
        .iter()
        .filter_map(|call| match &call.outcome {
            Outcome::Assumed(assumption) => Some(assumption),
            _ => None,
        })
        .collect();
    let [hub, spoke] = assumptions[..] else { panic!("{calls:?}") };
    assert_eq!(hub.session_name, "pay-payments");
    assert_eq!(hub.lifetime, Duration::from_secs(7200), "a user's first hop is not chained");
    assert_eq!(spoke.lifetime, Duration::from_secs(1800));
    assert_eq!(hub.tags.len(), 2);
    assert_eq!(spoke.tags.len(), 1, "the transitive one: {:?}", spoke.tags);
    assert_eq!(spoke.source_identity.as_deref(), Some("someone"));
}

#[tokio::test]
async fn a_renewal_reuses_what_is_fresh_and_no_more() {
    let world = World::start(IssuedLifetime::AsAsked).await;
    let mut source = world.source(&two_hops());
    fetch(&mut source).await.unwrap();
    fetch(&mut source).await.unwrap();
    assert_eq!(world.assumed(), ["hub", "spoke", "spoke"], "the hub is fresh");
    world.pass(31);
    fetch(&mut source).await.unwrap();
    assert_eq!(world.assumed()[3..], ["hub", "spoke"], "the hub was due after half its hour");
}

#[tokio::test]
async fn break_glass_asks_from_the_base_on() {
    let world = World::start(IssuedLifetime::AsAsked).await;
    let mut source = world.source(&two_hops());
    fetch(&mut source).await.unwrap();
    source.fetch(Freshness::Anew).await.unwrap();
    assert_eq!(world.assumed(), ["hub", "spoke", "hub", "spoke"]);
}

#[tokio::test]
async fn break_glass_that_failed_half_way_does_not_begin_again() {
    let world = World::start(IssuedLifetime::AsAsked).await;
    let mut source = world.source(&two_hops());
    fetch(&mut source).await.unwrap();
    let base = std::fs::read_to_string(world.path("base.json")).unwrap();
    std::fs::remove_file(world.path("base.json")).unwrap();
    let failure = source.fetch(Freshness::Anew).await.unwrap_err();
    assert_eq!(failure.stage, Stage::Base("file"), "nothing from before is used");
    std::fs::write(world.path("base.json"), base).unwrap();
    fetch(&mut source).await.unwrap();
    fetch(&mut source).await.unwrap();
    assert_eq!(world.assumed()[2..], ["hub", "spoke", "spoke"]);
}

#[tokio::test]
async fn the_hop_that_failed_is_named_with_what_sts_said() {
    let world = World::start(IssuedLifetime::AsAsked).await;
    let wrong = two_hops().replace("open-sesame", "open-barley");
    let failure = fetch(&mut world.source(&wrong)).await.unwrap_err();
    assert_eq!(failure.stage, Stage::Hop { number: 2, role: SPOKE.to_owned() });
    assert_eq!(failure.cause, Cause::Denied);
    assert!(failure.reason.contains("403 AccessDenied"), "{failure}");

    world.write_base(USER_KEY, "not-the-secret-of-that-user", None);
    let failure = fetch(&mut world.source(&two_hops())).await.unwrap_err();
    assert_eq!(failure.stage, Stage::Hop { number: 1, role: HUB.to_owned() });
    assert_eq!(failure.cause, Cause::StaleCaller);
    assert!(failure.reason.contains("SignatureDoesNotMatch"), "{failure}");
    assert!(!failure.reason.contains("Canonical"), "{failure}");

    std::fs::remove_file(world.path("base.json")).unwrap();
    let failure = fetch(&mut world.source(&two_hops())).await.unwrap_err();
    assert_eq!(failure.stage, Stage::Base("file"));
}

#[tokio::test]
async fn a_stale_caller_is_fetched_anew_once() {
    let world = World::start(IssuedLifetime::AsAsked).await;
    let mut source = world.source(&two_hops());
    fetch(&mut source).await.unwrap();
    world.sts.faults().set(vec![Fault::next(FaultKind::ExpiredToken, 1)]);
    let failure = fetch(&mut source).await.unwrap_err();
    assert_eq!(failure.cause, Cause::StaleCaller, "new keys may not be known everywhere yet");
    assert_eq!(world.assumed(), ["hub", "spoke"]);
    world.pass(2);
    world.sts.faults().set(vec![Fault::next(FaultKind::ExpiredToken, 1)]);
    fetch(&mut source).await.unwrap();
    assert_eq!(world.assumed()[2..], ["hub", "spoke"]);

    world.sts.faults().set(vec![Fault::every(FaultKind::ExpiredToken)]);
    let failure = fetch(&mut source).await.unwrap_err();
    assert_eq!(failure.cause, Cause::StaleCaller);
    world.sts.faults().set(Vec::new());
    fetch(&mut source).await.unwrap();
}

#[tokio::test]
async fn changed_keys_of_the_base_are_read_without_a_restart() {
    let world = World::start(IssuedLifetime::AsAsked).await;
    let mut source = world.source(&format!("[{{ role_arn: '{HUB}' }}]"));
    world.write_base("AKIAIOSFODNN7EXAMPL2", "whatever", None);
    assert_eq!(fetch(&mut source).await.unwrap_err().cause, Cause::StaleCaller);
    world.write_base(USER_KEY, USER_SECRET, None);
    fetch(&mut source).await.unwrap();
}

#[tokio::test]
async fn a_stage_that_fails_serves_once_more_while_it_is_good() {
    let world = World::start(IssuedLifetime::AsAsked).await;
    let mut source = world.source(&two_hops());
    fetch(&mut source).await.unwrap();
    world.pass(31);
    // Three, since the SDK tries that often.
    world.sts.faults().set(vec![Fault::next(FaultKind::Outage, 3)]);
    fetch(&mut source).await.unwrap();
    assert_eq!(world.assumed(), ["hub", "spoke", "spoke"], "the hub's old session called");
    fetch(&mut source).await.unwrap();
    assert_eq!(world.assumed()[3..], ["hub", "spoke"], "and it is asked for again");
}

#[tokio::test]
async fn a_denial_or_a_base_that_is_gone_is_not_gone_over() {
    let world = World::start(IssuedLifetime::AsAsked).await;
    let mut source = world.source(&two_hops());
    fetch(&mut source).await.unwrap();
    world.pass(31);
    world.sts.faults().set(vec![Fault::next(FaultKind::AccessDenied, 1)]);
    let failure = fetch(&mut source).await.unwrap_err();
    assert_eq!(failure.cause, Cause::Denied, "somebody may want it so: {failure}");
    std::fs::remove_file(world.path("base.json")).unwrap();
    let failure = fetch(&mut source).await.unwrap_err();
    assert_eq!((failure.stage, failure.cause), (Stage::Base("file"), Cause::NotConfigured));
}

#[tokio::test]
async fn a_role_session_as_base_is_clamped_to_an_hour_and_it_is_remembered() {
    let world = World::start(IssuedLifetime::AsAsked).await;
    let one = format!("[{{ role_arn: '{HUB}', session_name: hub }}]");
    let base = fetch(&mut world.source(&one)).await.unwrap();
    let Session::Token(token) = &base.session else { panic!("no session") };
    let secret = base.secret_access_key.expose();
    world.write_base(base.access_key_id.as_str(), secret, Some(token.expose()));

    let long = format!(
        "[{{ role_arn: '{SPOKE}', session_name: spoke, external_id: open-sesame, duration: 6h }}]"
    );
    let mut source = world.source(&long);
    let credential = fetch(&mut source).await.unwrap();
    assert_eq!(credential.remaining(world.clock.now()).unwrap().as_secs().div_ceil(3600), 1);
    let refused = |world: &World| {
        let calls = world.sts.ledger().calls();
        calls.iter().filter(|call| matches!(call.outcome, Outcome::Refused(_))).count()
    };
    assert_eq!(refused(&world), 1);
    fetch(&mut source).await.unwrap();
    assert_eq!(refused(&world), 1, "it asks for an hour from then on");
}

#[tokio::test]
async fn answers_that_make_no_sense_are_never_served() {
    let world = World::start(IssuedLifetime::AsAsked).await;
    let mut source = world.source(&two_hops());
    for kind in [
        FaultKind::Garbage,
        FaultKind::Truncated,
        FaultKind::PastExpiration,
        FaultKind::NoExpiration,
        FaultKind::Outage,
        FaultKind::Close,
        FaultKind::Huge,
    ] {
        world.sts.faults().set(vec![Fault::every(kind)]);
        let served = fetch(&mut source)
            .await
            .and_then(|credential| Served::new(credential, world.clock.now()));
        let failure = served.unwrap_err();
        assert!(
            matches!(failure.cause, Cause::Transient | Cause::Unreachable),
            "{kind:?}: {failure:?}"
        );
        if matches!(kind, FaultKind::Garbage | FaultKind::Outage) {
            assert!(failure.reason.contains("in its place"), "{kind:?}: {failure}");
        }
    }
    world.sts.faults().set(Vec::new());
    fetch(&mut source).await.unwrap();
}

/// On paused time, which goes on by itself to whatever is waited for.
#[tokio::test]
async fn an_sts_that_never_answers_is_given_up() {
    let world = World::start(IssuedLifetime::AsAsked).await;
    let mut source = world.source(&two_hops());
    // Base and hub are held from now on: nothing but the one call is waited for.
    fetch(&mut source).await.unwrap();
    tokio::time::pause();
    for (fault, cause, calls, milliseconds) in [
        // The SDK waits for a second at most before it tries again; tokio rounds each wait up.
        (Fault::next(FaultKind::Hang, 1), None, 2, 5_000..=6_010),
        (Fault::every(FaultKind::Hang), Some(Cause::Unreachable), 3, 15_000..=15_010),
    ] {
        let before = world.sts.ledger().calls().len();
        world.sts.faults().set(vec![fault]);
        let began = tokio::time::Instant::now();
        let fetched = tokio::time::timeout(Duration::from_secs(3600), fetch(&mut source)).await;
        assert_eq!(fetched.unwrap().err().map(|failure| failure.cause), cause);
        let took = began.elapsed().as_millis();
        assert!(milliseconds.contains(&took), "{took} ms of {milliseconds:?}");
        assert_eq!(world.sts.ledger().calls().len() - before, calls);
    }
}

#[tokio::test]
async fn throttling_is_told_apart_after_the_sdks_own_retries() {
    let world = World::start(IssuedLifetime::AsAsked).await;
    let mut source = world.source(&two_hops());
    world.sts.faults().set(vec![Fault::every(FaultKind::Throttle)]);
    let failure = fetch(&mut source).await.unwrap_err();
    assert_eq!(failure.cause, Cause::Throttled { retry_after: None });
    assert_eq!(world.sts.ledger().calls().len(), 3, "three attempts, as standard mode makes");
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let world = World::start(IssuedLifetime::AsAsked).await;
    // Nobody has listened on this port for decades; one that was free a moment ago may be somebody's.
    let chain = format!("[{{ role_arn: '{HUB}', endpoint: 'http://127.0.0.1:1' }}]");
    let failure = fetch(&mut world.source(&chain)).await.unwrap_err();
    assert_eq!(failure.cause, Cause::Unreachable, "{failure}");
    assert!(failure.reason.contains("refused"), "{failure}");
}

#[tokio::test]
async fn every_partition_is_chained_in() {
    for (partition, region) in [("aws-cn", "cn-north-1"), ("aws-us-gov", "us-gov-west-1")] {
        let world = World::start(IssuedLifetime::AsAsked).await;
        let role = format!("arn:{partition}:iam::111122223333:role/hub");
        let chain = format!("[{{ role_arn: '{role}', region: {region} }}]");
        let credential = fetch(&mut world.source(&chain)).await.unwrap();
        assert_eq!(credential.principal, Principal::Role(role.parse().unwrap()));
    }
}
