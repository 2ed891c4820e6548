//! What applications get: one flight for all of them, and clear words while there is nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use credential_relay::dev::sts::{Action, Fault, FaultKind, IssuedLifetime};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::common::{World, parse, two_hops};
use crate::harness::{Program, Relay, eventually, exchange, request, token, write_config};

#[tokio::test]
async fn what_stays_on_this_machine_goes_through_no_proxy() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let config = write_config(&world, &world.text(&[("payments", &two_hops())]));
    let nobody = "http://127.0.0.1:1";
    let proxies = [("HTTP_PROXY", nobody), ("http_proxy", nobody), ("ALL_PROXY", nobody)];
    let mut relay = Program::start(&["serve", "--config", config.to_str().unwrap()], &proxies);
    let place = relay.place(&world.path("admin.sock")).await;
    place.answers(&world, "payments", 200).await;
}

#[tokio::test]
async fn five_hundred_requests_during_the_first_fetch_share_one_flight() {
    const REQUESTS: usize = 500;
    let world = World::live(IssuedLifetime::AsAsked).await;
    world.open.send_replace(false);
    let relay = Relay::start(&world.config(&two_hops()));
    let endpoint = relay.place.endpoint;
    let all_connected = Arc::new(Barrier::new(REQUESTS + 1));
    let token = token(&world, "payments");
    let asking = request("GET", "/v1/credentials", &[("Authorization", &token)]);
    let mut requests = JoinSet::new();
    for _ in 0..REQUESTS {
        let (all_connected, asking) = (Arc::clone(&all_connected), asking.clone());
        requests.spawn(async move {
            let first = TcpStream::connect(endpoint).await.unwrap();
            all_connected.wait().await;
            let mut answer = exchange(first, &asking).await.unwrap();
            // The upstream may take longer than a request is held; an SDK asks again then.
            while answer.status == 503 {
                let again = TcpStream::connect(endpoint).await.unwrap();
                answer = exchange(again, &asking).await.unwrap();
            }
            answer.key_id()
        });
    }
    all_connected.wait().await;
    world.open.send_replace(true);
    let keys: BTreeSet<String> = requests.join_all().await.into_iter().collect();
    assert_eq!(keys.len(), 1, "{keys:?}");
    assert_eq!(world.assumed(), ["hub", "spoke"]);
    assert_eq!(world.sts.ledger().count(Action::AssumeRole), 2);
    relay.stop().await;
}

#[tokio::test]
async fn an_upstream_that_is_down_at_the_start_is_told_and_heals() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    world.sts.faults().set(vec![Fault::every(FaultKind::Outage)]);
    let relay = Relay::start(&world.config(&two_hops()));
    let first = relay.place.credential(&world, "payments").await;
    assert_eq!(first.status, 503);
    assert!(first.head.contains("\r\nretry-after: 1"), "{first:?}");

    let why = eventually("the failure is told", async || {
        let answer = relay.place.credential(&world, "payments").await;
        assert_eq!(answer.status, 503);
        assert!(answer.head.contains("\r\nretry-after: 1"), "{answer:?}");
        Some(answer.json()).filter(|body| body["code"] == "CredentialsUnavailable")
    })
    .await;
    let said = why["message"].as_str().unwrap();
    assert!(said.starts_with("hop 1 (arn:aws:iam::111122223333:role/hub): "), "{said}");
    assert!(said.contains("503"), "{said}");

    assert_eq!(relay.place.probe("/livez").await.status, 200);
    for path in ["/readyz", "/startupz"] {
        let probe = relay.place.probe(path).await;
        assert_eq!(probe.status, 503, "{path}");
        assert!(probe.body.starts_with("payments: not ready: hop 1 ("), "{probe:?}");
        assert!(probe.body.contains("(transient)"), "{probe:?}");
    }

    world.sts.faults().set(Vec::new());
    relay.place.answers(&world, "payments", 200).await;
    assert_eq!(relay.place.probe("/startupz").await.body, "payments: ready\n");
    assert_eq!(relay.place.probe("/readyz").await.body, "payments: ready\n");
    assert_eq!(relay.place.probe("/startupz").await.body, "started\n");
    relay.stop().await;
}

#[tokio::test]
async fn a_denial_is_told_with_stss_words_and_another_profile_goes_on() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let wrong = two_hops().replace("open-sesame", "open-barley");
    let text = world.text(&[("payments", &two_hops()), ("denied", &wrong)]);
    let relay = Relay::start(&parse(&text));
    let denied = relay.place.answers(&world, "denied", 403).await;
    assert!(!denied.head.contains("retry-after"), "{denied:?}");
    let body = denied.json();
    assert_eq!(body["code"], "AccessDenied");
    let said = body["message"].as_str().unwrap();
    assert!(said.starts_with("hop 2 (arn:aws:iam::444455556666:role/spoke): "), "{said}");
    assert!(said.contains("is not authorized to perform: sts:AssumeRole"), "{said}");

    relay.place.answers(&world, "payments", 200).await;
    let ready = relay.place.probe("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("payments: ready\n"), "{ready:?}");
    assert!(ready.body.contains("denied: not ready: hop 2 ("), "{ready:?}");
    relay.stop().await;
}
