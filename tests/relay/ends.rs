//! How the program ends, and with which exit code.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use credential_relay::dev::sts::{Fault, FaultKind, IssuedLifetime};
use rustix::process::Signal;

use crate::common::{HUB, USER_SECRET, World, two_hops};
use crate::harness::{Program, eventually, run, write_config};

#[tokio::test]
async fn sigterm_ends_it_while_an_upstream_call_hangs() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    world.open.send_replace(false);
    let text = world.text(&[("payments", &two_hops())]);
    for signal in [Signal::TERM, Signal::INT] {
        let mut relay = Program::serve(&world, &text, &["--drain", "0"]);
        let place = relay.place(&world.path("admin.sock")).await;
        assert_eq!(place.credential(&world, "payments").await.status, 503);
        relay.signal(signal);
        let left = relay.ended().await;
        assert_eq!(left.code, Some(0), "{left:?}");
        assert!(left.err.contains("\"stopped\""), "{}", left.err);
        assert!(!place.socket.exists());
    }
}

#[tokio::test]
async fn it_serves_on_while_it_drains_and_a_second_signal_ends_it() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let text = world.text(&[("payments", &two_hops())]);
    let mut relay = Program::serve(&world, &text, &["--drain", "3600"]);
    let place = relay.place(&world.path("admin.sock")).await;
    let held = place.answers(&world, "payments", 200).await.key_id();
    relay.signal(Signal::TERM);
    relay.says("\"stopping\"").await;
    assert_eq!(place.credential(&world, "payments").await.key_id(), held);
    assert_eq!(place.probe("/livez").await.status, 200);
    relay.signal(Signal::TERM);
    let left = relay.ended().await;
    assert_eq!(left.code, Some(0), "{left:?}");
    assert!(!place.socket.exists());
}

#[tokio::test]
async fn a_drain_ends_by_itself() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    world.sts.faults().set(vec![Fault::every(FaultKind::Hang)]);
    let text = world.text(&[("payments", &two_hops())]);
    let mut relay = Program::serve(&world, &text, &["--drain", "1"]);
    relay.place(&world.path("admin.sock")).await;
    relay.signal(Signal::TERM);
    let left = relay.ended().await;
    assert_eq!(left.code, Some(0), "{left:?}");
}

#[tokio::test]
async fn a_wrong_configuration_is_2_with_every_mistake() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let config = write_config(&world, "{ endpoint: { listen: nowhere }, profiles: { P: {} } }");
    let config = config.to_str().unwrap();
    for command in ["serve", "check", "get", "status", "healthcheck"] {
        let left = run(&[command, "--config", config], &[]).await;
        assert_eq!(left.code, Some(2), "{command}: {left:?}");
        assert!(left.err.contains("endpoint.listen: "), "{command}: {left:?}");
        assert!(left.err.contains("profiles.P: "), "{command}: {left:?}");
    }
    let left = run(&["serve"], &[]).await;
    assert_eq!(left.code, Some(2), "{left:?}");
    assert!(left.err.contains("CREDENTIAL_RELAY_ROLE_ARN"), "{left:?}");
    let left = run(&["serve"], &[("CREDENTIAL_RELAY_LOG", "loud")]).await;
    assert_eq!(left.code, Some(2), "{left:?}");
    assert!(left.err.contains("CREDENTIAL_RELAY_LOG"), "{left:?}");
    let left = run(&["no-such-command"], &[]).await;
    assert_eq!(left.code, Some(2), "{left:?}");
}

#[tokio::test]
async fn what_cannot_start_is_3_and_names_its_setting() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let text = world.text(&[("payments", &two_hops())]);
    let serve = async |text: &str| {
        let config = write_config(&world, text);
        let left = run(&["serve", "--config", config.to_str().unwrap()], &[]).await;
        assert_eq!(left.code, Some(3), "{left:?}");
        assert!(!world.path("admin.sock").exists(), "{left:?}");
        left.err
    };
    let taken = world.address.to_string();
    let said = serve(&text.replacen("127.0.0.1:0", &taken, 1)).await;
    assert!(said.contains(&format!("endpoint.listen: cannot listen on {taken}")), "{said}");
    let said = serve(&text.replacen(
        "admin: { listen: '127.0.0.1:0'",
        &format!("admin: {{ listen: '{taken}'"),
        1,
    ))
    .await;
    assert!(said.contains(&format!("admin.listen: cannot listen on {taken}")), "{said}");

    let bundle = world.path("ca.pem");
    fs::write(&bundle, "no certificate").unwrap();
    let sts = format!("{{ region: us-east-1, ca_cert: {} }}", bundle.display());
    let said = serve(&world.text_with(&sts, &[("payments", &two_hops())])).await;
    assert!(said.contains("profiles.payments: sts.ca_cert: "), "{said}");

    fs::write(world.token_file("payments"), USER_SECRET.replace('/', " ")).unwrap();
    let said = serve(&text).await;
    assert!(said.contains("profiles.payments: access.token_file "), "{said}");
    assert!(!said.contains("EXAMPLEKEY"), "{said}");
}

#[tokio::test]
async fn a_denied_profile_is_1_with_stss_words() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let denied = two_hops().replace("open-sesame", "open-barley");
    let config =
        write_config(&world, &world.text(&[("payments", &two_hops()), ("denied", &denied)]));
    let config = config.to_str().unwrap();
    let left = run(&["get", "denied", "--config", config], &[]).await;
    assert_eq!(left.code, Some(1), "{left:?}");
    assert_eq!(left.out, "");
    assert!(left.err.contains("is not authorized to perform: sts:AssumeRole"), "{left:?}");
    let left = run(&["check", "--connect", "--config", config], &[]).await;
    assert_eq!(left.code, Some(1), "{left:?}");
    assert!(left.out.contains("denied: FAILED at hop 2 ("), "{left:?}");
    assert!(left.out.contains("assumed-role/spoke/spoke"), "{left:?}");
    for command in [&["status"][..], &["rotate", "payments"], &["healthcheck"]] {
        let left = run(&[command, &["--config", config]].concat(), &[]).await;
        assert_eq!(left.code, Some(1), "nobody runs there: {left:?}");
        assert!(left.err.contains("admin.socket"), "{left:?}");
    }
}

#[tokio::test]
async fn a_base_that_comes_later_needs_no_restart() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    fs::remove_file(world.path("base.json")).unwrap();
    let text = world.text(&[("payments", &format!("[{{ role_arn: '{HUB}' }}]"))]);
    let mut relay = Program::serve(&world, &text, &[]);
    let place = relay.place(&world.path("admin.sock")).await;
    eventually("the missing file is told", async || {
        let probe = place.probe("/readyz").await;
        probe.body.contains("base.json: it cannot be read").then_some(())
    })
    .await;
    world.write_base(crate::common::USER_KEY, USER_SECRET, None);
    place.answers(&world, "payments", 200).await;
}

/// The application runs under another user, whatever the relay's umask is.
#[tokio::test]
async fn the_token_can_be_reached_by_everybody_under_a_narrow_umask() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let text = world.text(&[("payments", &two_hops())]);
    let token = world.path("deep/payments/token");
    let before = world.token_file("payments").display().to_string();
    let config = write_config(&world, &text.replace(&before, &token.display().to_string()));
    let narrow = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let mut relay = Program::start(&["serve", "--config", config.to_str().unwrap()], &[]);
    rustix::process::umask(narrow);
    relay.place(&world.path("admin.sock")).await;
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&token), 0o444);
    assert_eq!(mode(&world.path("deep/payments")), 0o755);
    assert_eq!(mode(&world.path("deep")), 0o755);
}
