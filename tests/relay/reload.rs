//! The configuration is read again while the relay runs.

use std::fs;
use std::path::Path;

use credential_relay::dev::sts::IssuedLifetime;
use rustix::process::Signal;

use crate::common::{World, two_hops};
use crate::harness::{Place, Program, ask_socket, eventually, run, write_config};

/// A relay with `payments`, and where it is.
async fn serving(world: &World) -> (Program, Place) {
    let text = world.text(&[("payments", &two_hops())]);
    let mut relay = Program::serve(world, &text, &["--drain", "0"]);
    let place = relay.place(&world.path("admin.sock")).await;
    place.answers(world, "payments", 200).await;
    (relay, place)
}

/// Writes another configuration, and tells the relay.
fn change(world: &World, relay: &Program, text: &str) {
    write_config(world, text);
    relay.signal(Signal::HUP);
}

#[tokio::test]
async fn profiles_come_and_go_and_what_did_not_change_keeps_its_credential() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let (relay, place) = serving(&world).await;
    let held = place.credential(&world, "payments").await.key_id();

    change(&world, &relay, &world.text(&[("payments", &two_hops()), ("reports", &two_hops())]));
    relay.says("\"new_or_changed\":\"reports\"").await;
    place.answers(&world, "reports", 200).await;
    assert_eq!(place.credential(&world, "payments").await.key_id(), held);

    change(&world, &relay, &world.text(&[("payments", &two_hops())]));
    relay.says("\"gone\":\"reports\"").await;
    place.answers(&world, "reports", 401).await;
    assert_eq!(place.credential(&world, "payments").await.key_id(), held);

    change(&world, &relay, &world.text(&[("payments", &two_hops())]));
    relay.says("no profile has changed").await;
    let metrics = place.probe("/metrics").await.body;
    for line in [
        "credential_relay_configuration_reads_total{result=\"taken\"} 3",
        "credential_relay_configuration_reads_total{result=\"refused\"} 0",
        "credential_relay_configuration_in_use 1",
        "credential_relay_refreshes_total{profile=\"payments\",result=\"success\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn what_cannot_be_used_changes_nothing_and_is_told_until_it_is_mended() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let (relay, place) = serving(&world).await;
    let held = place.credential(&world, "payments").await.key_id();
    let good = world.text(&[("payments", &two_hops())]);
    let elsewhere = good.replacen("127.0.0.1:0", "127.0.0.1:1", 1);
    let outside = good.replacen(world.path("base.json").to_str().unwrap(), "/other/base.json", 1);
    for (text, why) in [
        ("profiles: [", "it is not valid YAML"),
        ("", "empty; at least one profile is needed"),
        (&good.replacen("payments", "Pay ments", 1), "[a key of 9 characters]"),
        (&outside, "is outside the relay's sandbox"),
        (&elsewhere, "bound for as long as the relay runs; restart the relay"),
    ] {
        change(&world, &relay, text);
        let told = eventually(why, async || {
            let status = ask_socket(&place.socket, "GET", "/status").await.unwrap();
            Some(status).filter(|answer| answer.body.contains(why))
        })
        .await;
        assert_eq!(told.status, 200, "{told:?}");
        let ready = place.probe("/readyz").await;
        assert_eq!(ready.status, 200, "{ready:?}");
        assert!(ready.body.contains("cannot be used") && !ready.body.contains(why), "{ready:?}");
        assert_eq!(place.credential(&world, "payments").await.key_id(), held);
        assert!(place.probe("/metrics").await.body.contains("configuration_in_use 0"));
        commands_find_the_relay(&world, why).await;
    }
    assert!(relay.err().contains("the relay goes on with the one from before"));
    change(&world, &relay, &good);
    eventually("it is in use", async || {
        let ready = place.probe("/readyz").await.body;
        (!ready.contains("configuration")).then_some(())
    })
    .await;
    assert_eq!(place.credential(&world, "payments").await.key_id(), held);
}

/// The commands that ask a relay find it, where what is left of its configuration says where it is.
async fn commands_find_the_relay(world: &World, why: &str) {
    let config = world.path("config.yaml");
    if fs::read_to_string(&config).unwrap().len() < 20 {
        return;
    }
    let left = run(&["status", "--config", config.to_str().unwrap()], &[]).await;
    assert_eq!(left.code, Some(0), "{left:?}");
    assert!(left.out.contains("payments") && left.out.contains(why), "{left:?}");
}

#[tokio::test]
async fn a_command_tells_what_is_wrong_where_no_relay_runs() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let config = write_config(&world, "admin: { socket: /nowhere/admin.sock }\nprofiles: 1\n");
    for command in ["status", "healthcheck"] {
        let left = run(&[command, "--config", config.to_str().unwrap()], &[]).await;
        assert_eq!(left.code, Some(2), "{left:?}");
        assert!(left.err.contains("profiles: "), "{left:?}");
    }
}

#[tokio::test]
async fn a_changed_file_is_noticed_without_a_signal() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let (_relay, place) = serving(&world).await;
    let next: &Path = &world.path("next.yaml");
    fs::write(next, world.text(&[("payments", &two_hops()), ("reports", &two_hops())])).unwrap();
    fs::rename(next, world.path("config.yaml")).unwrap();
    eventually("reports is served", async || {
        fs::metadata(world.token_file("reports")).is_ok().then_some(())
    })
    .await;
    place.answers(&world, "reports", 200).await;
}

#[tokio::test]
async fn a_hangup_ends_no_relay_that_the_environment_configures() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let socket = world.path("admin.sock");
    let token = world.token_file("default");
    let variables = [
        ("CREDENTIAL_RELAY_LISTEN", "127.0.0.1:0"),
        ("CREDENTIAL_RELAY_ADMIN_LISTEN", "127.0.0.1:0"),
        ("CREDENTIAL_RELAY_ADMIN_SOCKET", socket.to_str().unwrap()),
        ("CREDENTIAL_RELAY_TOKEN_FILE", token.to_str().unwrap()),
        ("CREDENTIAL_RELAY_ROLE_ARN", "arn:aws:iam::111122223333:role/payments"),
        ("AWS_REGION", "eu-west-1"),
    ];
    let mut relay = Program::start(&["serve", "--drain", "0"], &variables);
    relay.place(&socket).await;
    relay.signal(Signal::HUP);
    relay.says("the configuration comes from the environment").await;
    relay.signal(Signal::TERM);
    assert_eq!(relay.ended().await.code, Some(0));
}
