//! The embedded upstream over real sockets: the shared cases, and what it alone can do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test program: the helpers stand outside of the test functions"
)]

mod upstream_cases;
#[path = "upstream/vault.rs"]
mod vault;

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sts::Client;
use aws_sdk_sts::config::retry::RetryConfig;
use aws_sdk_sts::error::ProvideErrorMetadata;
use bytes::Bytes;
use credential_relay::clock::{Clock, ManualClock};
use credential_relay::credential::Secret;
use credential_relay::dev::sts::{
    Action, Closed, Fault, FaultKind, IssuedLifetime, Outcome, Regions, Settings, Sts, User,
};
use credential_relay::listener::{Answer, Peer};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use upstream_cases::signatures::Breakage;
use upstream_cases::{Keys, Upstream, World, calls, signatures};

const SECRET: &str = "secret/of/the+base/user";

fn embedded(lifetime: IssuedLifetime, clock: Clock) -> Sts {
    let settings = Settings {
        account: "111122223333".parse().unwrap(),
        user: User {
            name: "base".to_owned(),
            access_key_id: "AKIATESTTESTTEST0001".parse().unwrap(),
            secret_access_key: Secret::new(SECRET.to_owned()),
        },
        lifetime,
        regions: Regions::Only(vec!["us-east-1".to_owned()]),
        external_ids: HashMap::from([(
            "arn:aws:iam::444455556666:role/spoke".parse().unwrap(),
            "payments-external-id".to_owned(),
        )]),
    };
    Sts::new(settings, clock)
}

/// Serves on a free port until the test ends.
async fn serve(sts: &Sts) -> World {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let sts = sts.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sts = sts.clone();
            let service = service_fn(move |request| sts.answer(request, Peer::Local));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    World {
        endpoint: format!("http://{address}"),
        region: "us-east-1".to_owned(),
        hub_account: "111122223333".to_owned(),
        spoke_account: "444455556666".to_owned(),
        base: Keys {
            access_key_id: "AKIATESTTESTTEST0001".to_owned(),
            secret_access_key: SECRET.to_owned(),
            session_token: None,
        },
        hub_role_arn: "arn:aws:iam::111122223333:role/hub".to_owned(),
        spoke_role_arn: "arn:aws:iam::444455556666:role/spoke".to_owned(),
        external_id: "payments-external-id".to_owned(),
    }
}

async fn started() -> (Sts, World) {
    let sts = embedded(IssuedLifetime::AsAsked, Clock::system());
    let world = serve(&sts).await;
    (sts, world)
}

fn hub(
    client: &Client,
    world: &World,
) -> aws_sdk_sts::operation::assume_role::builders::AssumeRoleFluentBuilder {
    client.assume_role().role_arn(&world.hub_role_arn).role_session_name("test")
}

#[tokio::test]
async fn calls_hold_for_the_embedded_upstream() {
    let (_, world) = started().await;
    calls::run(&world, Upstream::Embedded).await;
}

#[tokio::test]
async fn signatures_hold_for_the_embedded_upstream() {
    let (_, world) = started().await;
    signatures::run(&world, Upstream::Embedded).await;
}

#[tokio::test]
async fn the_user_is_told_who_it_is() {
    let (_, world) = started().await;
    let client = calls::client(&world, &world.base);
    let identity = client.get_caller_identity().send().await.unwrap();
    assert_eq!(identity.arn(), Some("arn:aws:iam::111122223333:user/base"));
    assert_eq!(identity.account(), Some("111122223333"));
}

#[tokio::test]
async fn a_session_of_the_user_makes_no_chain() {
    let (_, world) = started().await;
    let client = calls::client(&world, &world.base);
    let answer = client.get_session_token().send().await.unwrap();
    let credentials = answer.credentials().unwrap();
    let keys = Keys {
        access_key_id: credentials.access_key_id().to_owned(),
        secret_access_key: credentials.secret_access_key().to_owned(),
        session_token: Some(credentials.session_token().to_owned()),
    };
    let client = calls::client(&world, &keys);
    let identity = client.get_caller_identity().send().await.unwrap();
    assert_eq!(identity.arn(), Some("arn:aws:iam::111122223333:user/base"));
    let long = hub(&client, &world).duration_seconds(43_200).send().await;
    assert!(long.is_ok(), "{long:?}");
    let again = client.get_session_token().send().await.unwrap_err();
    assert_eq!(again.code(), Some("AccessDenied"));
}

#[tokio::test]
async fn a_session_ends_by_the_upstreams_clock() {
    let manual = ManualClock::starting_at(Clock::system().now().wall);
    let most = Duration::from_secs(60);
    let sts = embedded(IssuedLifetime::AtMost(most), manual.clock());
    let world = serve(&sts).await;
    let client = calls::client(&world, &world.base);
    let before = manual.clock().now().wall;
    let answer = hub(&client, &world).duration_seconds(900).send().await.unwrap();
    let lives = answer.credentials().unwrap().expiration().secs() - before.as_secs();
    assert!((60..70).contains(&lives), "{lives} s");

    let keys = calls::session_keys(&answer);
    let session = calls::client(&world, &keys);
    assert!(session.get_caller_identity().send().await.is_ok());
    manual.suspend(most);
    let error = session.get_caller_identity().send().await.unwrap_err();
    assert_eq!(error.code(), Some("ExpiredToken"));
    let now = manual.clock().now().wall;
    let raw = signatures::send(&world, &keys, &Breakage::default(), now).await;
    assert_eq!((raw.status, raw.element("Code")), (403, "ExpiredToken"));
}

#[tokio::test]
async fn a_mismatch_quotes_the_token_as_the_real_one_does() {
    let (_, world) = started().await;
    let answer = hub(&calls::client(&world, &world.base), &world).send().await;
    let keys =
        Keys { secret_access_key: "wrong".to_owned(), ..calls::session_keys(&answer.unwrap()) };
    let error = calls::client(&world, &keys).get_caller_identity().send().await;
    let error = error.unwrap_err();
    assert_eq!(error.code(), Some("SignatureDoesNotMatch"));
    assert!(error.message().unwrap().contains(&keys.session_token.unwrap()));
}

#[tokio::test]
async fn the_ledger_tells_what_came_down_a_chain() {
    let (sts, world) = started().await;
    let tag = |key: &str, value: &str| {
        aws_sdk_sts::types::Tag::builder().key(key).value(value).build().unwrap()
    };
    let first = hub(&calls::client(&world, &world.base), &world)
        .tags(tag("Team", "payments"))
        .tags(tag("once", "1"))
        .transitive_tag_keys("team")
        .source_identity("alice");
    let first = calls::session_keys(&first.send().await.unwrap());
    let second = hub(&calls::client(&world, &first), &world).tags(tag("stage", "two"));
    let second = calls::session_keys(&second.send().await.unwrap());
    hub(&calls::client(&world, &second), &world).send().await.unwrap();
    let refused = hub(&calls::client(&world, &second), &world).duration_seconds(1);
    refused.send().await.unwrap_err();

    assert_eq!(sts.ledger().count(Action::AssumeRole), 4);
    assert_eq!(sts.ledger().count(Action::GetCallerIdentity), 0);
    let [one, two, three, four] = &sts.ledger().calls()[..] else { panic!("{:?}", sts.ledger()) };
    let tags = |outcome: &Outcome| match outcome {
        Outcome::Assumed(session) => {
            assert_eq!(session.source_identity.as_deref(), Some("alice"));
            format!("{:?}", session.tags)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(tags(&one.outcome), r#"{"Team": "payments", "once": "1"}"#);
    assert_eq!(tags(&two.outcome), r#"{"Team": "payments", "stage": "two"}"#);
    assert_eq!(tags(&three.outcome), r#"{"Team": "payments"}"#);
    assert_eq!(three.access_key_id.as_ref(), Some(&second.access_key_id));
    assert_eq!(four.outcome, Outcome::Refused("ValidationError"));
}

#[tokio::test]
async fn aws_s_client_tries_again_when_it_is_throttled() {
    let (sts, world) = started().await;
    sts.faults().set(vec![Fault::next(FaultKind::Throttle, 2)]);
    let client = calls::client(&world, &world.base);
    let error = hub(&client, &world).send().await.unwrap_err();
    let status = error.raw_response().unwrap().status().as_u16();
    assert_eq!((status, error.code()), (400, Some("Throttling")));

    let retry =
        RetryConfig::standard().with_max_attempts(2).with_initial_backoff(Duration::from_millis(1));
    let config = calls::config(&world, &world.base).retry_config(retry);
    let retried = hub(&Client::from_conf(config.build()), &world).send().await;
    assert!(retried.is_ok(), "{retried:?}");
    let outcomes: Vec<_> = sts.ledger().calls().into_iter().map(|call| call.outcome).collect();
    assert_eq!(outcomes[..2], [Outcome::Faulted("throttle"), Outcome::Faulted("throttle")]);
    assert_eq!(sts.ledger().count(Action::AssumeRole), 3);
}

#[tokio::test]
async fn aws_s_client_learns_the_upstreams_clock() {
    let two_hours = Duration::from_secs(2 * 60 * 60);
    let ahead = Clock::system().now().wall + two_hours;
    let clock = ManualClock::starting_at(ahead).clock();
    let sts = embedded(IssuedLifetime::AsAsked, clock);
    let world = serve(&sts).await;
    let retry = RetryConfig::standard().with_initial_backoff(Duration::from_millis(1));
    let config = calls::config(&world, &world.base).retry_config(retry);
    let answer = hub(&Client::from_conf(config.build()), &world).send().await;
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(sts.ledger().calls()[0].outcome, Outcome::Refused("SignatureDoesNotMatch"));
    assert_eq!(sts.ledger().count(Action::AssumeRole), 2);
}

#[tokio::test]
async fn faults_reach_aws_s_client_as_the_failures_they_stand_for() {
    let (sts, world) = started().await;
    let client = calls::client(&world, &world.base);
    for (kind, status, code) in [
        (FaultKind::Outage, Some(503), None),
        (FaultKind::Close, None, None),
        (FaultKind::AccessDenied, Some(403), Some("AccessDenied")),
        (FaultKind::ExpiredToken, Some(403), Some("ExpiredToken")),
        (FaultKind::Garbage, Some(200), None),
    ] {
        sts.faults().set(vec![Fault::every(kind)]);
        let answer = hub(&client, &world).send().await;
        let error = answer.expect_err(kind.as_str());
        let seen = error.raw_response().map(|raw| raw.status().as_u16());
        assert_eq!((seen, error.code()), (status, code), "{kind:?}: {error:?}");
    }
    // AWS's client takes these for answers: whoever calls it must look at the expiration.
    for (kind, whole) in [(FaultKind::Truncated, false), (FaultKind::NoExpiration, true)] {
        sts.faults().set(vec![Fault::every(kind)]);
        let answer = hub(&client, &world).send().await.unwrap();
        let credentials = answer.credentials().unwrap();
        assert_eq!(credentials.expiration().secs(), 0);
        assert_eq!(credentials.session_token().ends_with('='), whole);
    }
    sts.faults().set(vec![Fault::every(FaultKind::PastExpiration)]);
    let now = Clock::system().now().wall.as_secs();
    let past = hub(&client, &world).send().await.unwrap();
    assert!(past.credentials().unwrap().expiration().secs() < now);
    sts.faults().set(vec![]);
    assert!(hub(&client, &world).send().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn faults_of_time_and_size() {
    let sts = embedded(IssuedLifetime::AsAsked, Clock::system());
    let request = || hyper::Request::new(Full::<Bytes>::default());
    let hour = Duration::from_secs(3_600);
    let begun = tokio::time::Instant::now();

    sts.faults().set(vec!["latency=250ms".parse().unwrap()]);
    sts.respond(request()).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_millis(250));

    sts.faults().set(vec![Fault::every(FaultKind::Hang)]);
    let answer = tokio::time::timeout(hour, sts.respond(request())).await;
    assert!(answer.is_err(), "it must never answer");

    sts.faults().set(vec![Fault::every(FaultKind::Close)]);
    assert_eq!(sts.respond(request()).await.unwrap_err(), Closed);
    let outcomes: Vec<_> = sts.ledger().calls().into_iter().map(|call| call.outcome).collect();
    assert_eq!(
        outcomes,
        [Outcome::Refused("InvalidAction"), Outcome::Faulted("hang"), Outcome::Faulted("close")]
    );
}

#[tokio::test]
async fn a_huge_answer_is_a_right_one_with_much_behind_it() {
    let (sts, world) = started().await;
    sts.faults().set(vec![Fault::every(FaultKind::Huge)]);
    let now = Clock::system().now().wall;
    let answer = signatures::send(&world, &world.base, &Breakage::default(), now).await;
    assert_eq!(answer.element("Account"), "111122223333");
    assert!(answer.body.len() > 16 * 1024 * 1024);
}

#[tokio::test]
async fn nothing_secret_is_printed() {
    let (sts, world) = started().await;
    let answer = hub(&calls::client(&world, &world.base), &world).send().await;
    let keys = calls::session_keys(&answer.unwrap());
    let printed = format!("{sts:?} {:?} {:?}", sts.ledger(), sts.faults());
    assert!(printed.contains(&keys.access_key_id));
    for secret in [SECRET, &keys.secret_access_key, &keys.session_token.unwrap()] {
        assert!(!printed.contains(secret), "{printed}");
    }
}
