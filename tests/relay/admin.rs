//! The admin surface: what the network may see, and what the socket alone can do.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use credential_relay::dev::sts::IssuedLifetime;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::common::{SPOKE, World, two_hops};
use crate::harness::{DEADLINE, Program, Relay, ask, ask_socket, run, token, write_config};

#[tokio::test]
async fn the_network_sees_four_paths_and_no_more() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let relay = Relay::start(&world.config(&two_hops()));
    let place = &relay.place;
    place.answers(&world, "payments", 200).await;
    let metrics = place.probe("/metrics").await;
    assert!(metrics.head.contains("content-type: application/openmetrics-text"), "{metrics:?}");
    assert!(metrics.body.ends_with("# EOF\n"), "{metrics:?}");
    for path in ["/livez", "/readyz", "/startupz", "/metrics"] {
        assert_eq!(place.probe(path).await.status, 200, "{path}");
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "HEAD"] {
            let refused = ask(place.admin, method, path, &[]).await;
            assert_eq!(refused.status, 405, "{method} {path}");
        }
    }
    let token = token(&world, "payments");
    for path in [
        "/",
        "/status",
        "/rotate/payments",
        "/rotate/x",
        "/v1/credentials",
        "/v1/credentials/payments",
        "/livez/",
        "//metrics",
        "/metrics/../status",
        "/%73tatus",
        "/debug",
    ] {
        for method in ["GET", "POST"] {
            let answer = ask(place.admin, method, path, &[("Authorization", &token)]).await;
            assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
        }
    }
    assert_eq!(world.assumed().len(), 2, "nothing rotated");
    relay.stop().await;
}

#[tokio::test]
async fn the_socket_is_private_and_tells_and_rotates() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let relay = Relay::start(&world.config(&two_hops()));
    let place = &relay.place;
    let mode = fs::metadata(&place.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = place.answers(&world, "payments", 200).await.key_id();

    let status = ask_socket(&place.socket, "GET", "/status").await.unwrap();
    let document = status.json();
    assert_eq!(document["endpoint"][0], place.endpoint.to_string());
    assert_eq!(document["admin"], place.admin.to_string());
    let profile = &document["profiles"][0];
    assert_eq!(profile["name"], "payments");
    assert_eq!(profile["state"], "ready");
    assert_eq!(profile["credential"]["access_key_id"], before);
    assert_eq!(profile["credential"]["role_arn"], SPOKE);
    assert!(profile["next"].as_str().unwrap().starts_with("renew at "), "{profile}");
    assert!(profile["trouble"].is_null(), "{profile}");

    let rotated = place.rotate("payments").await;
    assert_eq!(rotated.status, 200, "{rotated:?}");
    let after = place.credential(&world, "payments").await.key_id();
    assert_ne!(after, before);
    assert_eq!(rotated.json()["credential"]["access_key_id"], after);
    assert_eq!(world.assumed(), ["hub", "spoke", "hub", "spoke"], "the whole chain anew");

    assert_eq!(place.rotate("nobody").await.status, 404);
    for (method, path, expected) in [
        ("GET", "/rotate/payments", 405),
        ("POST", "/status", 405),
        ("POST", "/rotate", 404),
        ("GET", "/v1/credentials", 404),
        ("GET", "/metrics", 404),
    ] {
        let answer = ask_socket(&place.socket, method, path).await.unwrap();
        assert_eq!(answer.status, expected, "{method} {path}");
    }
    assert_eq!(world.assumed().len(), 4);

    let socket = place.socket.clone();
    relay.stop().await;
    assert!(!socket.exists(), "the socket's file goes with the relay");
}

#[tokio::test]
async fn a_second_relay_on_the_socket_does_not_start_and_the_first_goes_on() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let text = world.text(&[("payments", &two_hops())]);
    let mut first = Program::serve(&world, &text, &[]);
    let place = first.place(&world.path("admin.sock")).await;
    let before = place.answers(&world, "payments", 200).await.key_id();

    let config = write_config(&world, &text);
    let second = run(&["serve", "--config", config.to_str().unwrap()], &[]).await;
    assert_eq!(second.code, Some(3), "{second:?}");
    assert!(second.err.contains("admin.socket: "), "{second:?}");
    assert!(second.err.contains("another relay"), "{second:?}");

    assert_eq!(place.credential(&world, "payments").await.key_id(), before);
    assert_eq!(place.rotate("payments").await.status, 200);
}

#[tokio::test]
async fn those_who_wait_share_a_rotation_and_leave_room_for_the_status() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let relay = Relay::start(&world.config(&two_hops()));
    let place = &relay.place;
    place.answers(&world, "payments", 200).await;
    world.open.send_replace(false);
    let mut asking = JoinSet::new();
    for _ in 0..40 {
        let place = place.clone();
        asking.spawn(async move { place.rotate("payments").await });
    }
    // The first is under way, one waits, and the others are told so.
    for _ in 0..38 {
        let refused = timeout(DEADLINE, asking.join_next()).await.unwrap().unwrap().unwrap();
        assert_eq!(refused.status, 503, "{refused:?}");
        assert!(refused.body.contains("2 wait for a rotation already"), "{refused:?}");
    }
    let status = ask_socket(&place.socket, "GET", "/status").await.unwrap();
    let next = status.json()["profiles"][0]["next"].as_str().unwrap().to_owned();
    assert!(next.starts_with("fetching since "), "{next}");
    world.open.send_replace(true);
    let rotated = asking.join_all().await;
    assert_eq!(rotated.len(), 2);
    assert!(rotated.iter().all(|answer| answer.status == 200), "{rotated:?}");
    let flights = world.assumed().len() / 2;
    assert!((2..=3).contains(&flights), "{flights} flights for the start and two who asked");
    relay.stop().await;
}
