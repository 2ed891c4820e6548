//! What one request and its answer cannot show: many connections, slow ones, and the end.

use std::sync::Arc;
use std::time::Duration;

use credential_relay::config;
use credential_relay::endpoint::{self, Directory, Keyring, Profile};
use credential_relay::failure::Cause;
use credential_relay::shutdown;
use credential_relay::store;
use tokio::net::TcpSocket;

use crate::harness::{Client, Log, Relay, START, assert_no_secret, good_request, served, token};

async fn asked(client: &mut Client) -> u16 {
    client.ask().await;
    client.answer(true).await.expect("closed").status
}

#[tokio::test(start_paused = true)]
async fn it_listens_on_both_loopback_addresses() {
    let relay = Relay::start(8);
    relay.publish_session();
    let [first, rest @ ..] = relay.addresses.as_slice() else {
        panic!("it listens nowhere");
    };
    assert_eq!(first.ip().to_string(), "127.0.0.1");
    // Where the machine has no IPv6 there is no second.
    for second in rest {
        assert_eq!(second.ip().to_string(), "::1");
        assert_eq!(second.port(), first.port());
        assert_eq!(asked(&mut Client::connect(*second).await).await, 200);
    }
    assert_eq!(asked(&mut Client::connect(*first).await).await, 200);
}

#[tokio::test(start_paused = true)]
async fn slow_clients_cannot_starve_another() {
    let relay = Relay::start(4);
    relay.publish_session();
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut client = relay.connect().await;
        client.send("GET /v1/credentials HTTP/1.1\r\nX-Slow: ").await;
        slow.push(client);
    }
    let mut client = relay.connect().await;
    assert_eq!(asked(&mut client).await, 200);
    relay.assert_metric("credential_relay_connections 4");
    relay.assert_metric("credential_relay_connections_evicted_total 17");
    for client in &mut slow[..17] {
        client.closed().await;
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_that_stall_cannot_starve_another() {
    let stalls = good_request().replace("\r\n\r\n", "\r\nContent-Length: 500\r\n\r\nslow");
    let relay = Relay::start(4);
    relay.publish_session();
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut client = relay.connect().await;
        client.send(&stalls).await;
        slow.push(client);
    }
    let mut client = relay.connect().await;
    assert_eq!(asked(&mut client).await, 200);
    // No body is waited for where the answer is there.
    for client in &mut slow {
        assert_eq!(client.answer(true).await.expect("closed").status, 200);
        client.closed().await;
    }
    // Where it is not, the request could be held, and its connection is idle all the same.
    let relay = Relay::start(1);
    let mut slow = relay.connect().await;
    slow.send(&stalls).await;
    let mut client = relay.connect().await;
    assert_eq!(asked(&mut client).await, 503);
    slow.closed().await;
    relay.assert_metric("credential_relay_connections_evicted_total 1");
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_connections_pushes_out_no_request_that_has_arrived() {
    let relay = Relay::start(4);
    relay.publish_session();
    let mut client = Client::connect_at_once(relay.addresses[0], &good_request());
    let burst: Vec<_> =
        (0..20).map(|_| Client::connect_at_once(relay.addresses[0], "GET ")).collect();
    assert_eq!(client.answer(true).await.expect("closed").status, 200);
    drop(burst);
}

#[tokio::test(start_paused = true)]
async fn the_connection_that_is_idle_longest_makes_room() {
    let relay = Relay::start(3);
    relay.publish_session();
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(relay.connect().await);
        assert_eq!(asked(clients.last_mut().unwrap()).await, 200);
    }
    // The first one to come is no longer the one that has been idle longest.
    assert_eq!(asked(&mut clients[0]).await, 200);
    let mut further = relay.connect().await;
    assert_eq!(asked(&mut further).await, 200);
    clients[1].closed().await;
    assert_eq!(asked(&mut clients[0]).await, 200);
    assert_eq!(asked(&mut clients[2]).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_held_loses_its_place_to_nobody() {
    let relay = Relay::start(2);
    let started = tokio::time::Instant::now();
    let mut held = relay.connect().await;
    held.ask().await;
    // The second place is enough for all the others, whose requests are not held.
    let mut others = Vec::new();
    for _ in 0..4 {
        let mut client = relay.connect().await;
        assert_eq!(asked(&mut client).await, 503);
        others.push(client);
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(held.answer(true).await.expect("closed").status, 503);
    assert_eq!(started.elapsed(), Duration::from_millis(800));
}

#[tokio::test(start_paused = true)]
async fn far_more_requests_than_connections_are_all_answered_within_a_second() {
    let relay = Relay::start(16);
    let started = tokio::time::Instant::now();
    let mut answers = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let mut client = Client::connect_at_once(relay.addresses[0], &good_request());
        answers.spawn(async move {
            let answer = client.answer(true).await.expect("closed");
            (answer.status, started.elapsed().as_millis())
        });
    }
    let mut answers = answers.join_all().await;
    answers.sort_unstable();
    assert_eq!(answers[..96], [(503, 0); 96]);
    // A quarter of the connections.
    assert_eq!(answers[96..], [(503, 800); 4]);
}

#[tokio::test(start_paused = true)]
async fn who_has_the_port_of_the_other_loopback_address_is_warned_of() {
    let (log, _guard) = Log::capture();
    let (_stranger, bound) = loop {
        let Ok(stranger) = std::net::TcpListener::bind("[::1]:0") else {
            return; // A machine without IPv6.
        };
        let bound = endpoint::bind(&config::Endpoint {
            listen: ([127, 0, 0, 1], stranger.local_addr().unwrap().port()).into(),
            hosts: Vec::new(),
            max_connections: 16,
        });
        match bound {
            Ok(bound) => break (stranger, bound),
            // The same port of 127.0.0.1 may be somebody's.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse, "{error}"),
        }
    };
    assert_eq!(bound.addresses().len(), 1);
    let text = log.text();
    let warning = text.lines().find(|line| line.contains(" WARN ")).expect("no warning");
    assert!(warning.contains("not served over IPv6") && warning.contains("[::1]:"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn what_sends_nothing_is_closed_in_the_end() {
    let relay = Relay::start(8);
    let mut silent = relay.connect().await;
    let mut slow = relay.connect().await;
    slow.send("GET /v1/credentials HT").await;
    silent.closed().await;
    slow.closed().await;
    relay.assert_metric("credential_relay_connections 0");
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_are_answered_in_order() {
    let relay = Relay::start(8);
    relay.publish_session();
    let mut client = relay.connect().await;
    let wrong = good_request().replace("payments HTTP", "payments/x HTTP");
    client.send(&(good_request() + &wrong).repeat(20)).await;
    for _ in 0..20 {
        assert_eq!(client.answer(true).await.unwrap().status, 200);
        assert_eq!(client.answer(true).await.unwrap().status, 404);
    }
}

/// What is kept for a client is what the kernel keeps, and a few answers.
#[tokio::test(start_paused = true)]
async fn who_asks_and_reads_no_answer_is_read_no_further() {
    let relay = Relay::start(8);
    relay.publish_session();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut deaf = Client::over(socket.connect(relay.addresses[0]).await.unwrap());
    let many = good_request().repeat(100);
    let asking = async {
        for _ in 0..10_000 {
            deaf.send(&many).await;
        }
    };
    // The time jumps as soon as neither side can go on.
    assert!(tokio::time::timeout(Duration::from_secs(1), asking).await.is_err());
    assert_eq!(asked(&mut relay.connect().await).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_head_may_come_byte_by_byte() {
    let relay = Relay::start(8);
    relay.publish_session();
    let mut client = relay.connect().await;
    for byte in good_request().chars() {
        client.send(&byte.to_string()).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.answer(true).await.unwrap().status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_client_may_end_its_side_while_it_is_held() {
    let relay = Relay::start(8);
    let mut client = relay.connect().await;
    client.ask().await;
    client.end_sending().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    relay.publish_session();
    assert_eq!(client.answer(true).await.expect("closed").status, 200);
    client.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_serves_and_closes_and_a_stop_ends_all() {
    let mut relay = Relay::start(8);
    relay.publish_session();
    let mut open = relay.connect().await;
    assert_eq!(asked(&mut open).await, 200);
    let mut silent = relay.connect().await;

    let trigger = std::mem::replace(&mut relay.trigger, shutdown::channel().0);
    let ending = tokio::spawn(trigger.drain_then_stop(Duration::from_secs(3600)));
    tokio::task::yield_now().await;
    for client in [&mut open, &mut relay.connect().await] {
        client.ask().await;
        let answer = client.answer(true).await.expect("closed");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["connection"], "close");
        client.closed().await;
    }

    ending.abort();
    silent.closed().await;
    relay.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn profiles_go_while_connections_stay() {
    let relay = Relay::start(8);
    relay.publish_session();
    let mut client = relay.connect().await;
    assert_eq!(asked(&mut client).await, 200);
    relay.directory.send_replace(Arc::new(Directory::default()));
    assert_eq!(asked(&mut client).await, 401);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_held_is_answered_by_the_last_that_takes_its_profile_s_place() {
    let relay = Relay::start(8);
    let mut client = relay.connect().await;
    client.ask().await;
    let mut publishers = Vec::new();
    for _ in 0..3 {
        let (publisher, reader) = store::channel(START);
        let tokens = vec![token("payments").parse().unwrap()];
        let keyring = Keyring { tokens, ..Keyring::default() };
        let next = Profile::new("payments".parse().unwrap(), reader, keyring, &relay.metrics);
        tokio::time::sleep(Duration::from_millis(100)).await;
        relay.directory.send_replace(Arc::new(Directory::new(vec![Arc::new(next)])));
        publishers.push(publisher);
    }
    publishers[2].publish(served(relay.clock.clock().now()));
    assert_eq!(client.answer(true).await.expect("closed").status, 200);
}

#[tokio::test(start_paused = true)]
async fn every_decision_is_counted_and_a_wrong_token_logged_once() {
    let (log, _guard) = Log::capture();
    let relay = Relay::start(8);
    relay.publish_session();
    let mut client = relay.connect().await;
    assert_eq!(asked(&mut client).await, 200);
    for _ in 0..5 {
        let wrong = good_request().replace(token("payments"), "Bearer hunter2 hunter2");
        client.send(&wrong).await;
        assert_eq!(client.answer(true).await.unwrap().status, 401);
    }
    relay.clock.suspend(Duration::from_secs(7200));
    relay.report(Cause::Denied);
    assert_eq!(asked(&mut client).await, 403);

    for (decision, count) in [("issued", 1), ("wrong_token", 5), ("denied", 1), ("guard", 0)] {
        relay.assert_metric(&format!(
            r#"credential_relay_requests_total{{profile="payments",decision="{decision}"}} {count}"#
        ));
    }
    let text = log.text();
    let refusals: Vec<_> = text.lines().filter(|l| l.contains("was refused")).collect();
    assert_eq!(refusals.len(), 1, "{text}");
    assert!(refusals[0].contains("15 characters, blanks"), "{text}");
    assert_no_secret(&text, "the log");
}
