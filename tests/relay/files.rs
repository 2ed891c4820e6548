//! The credentials file of a whole relay.

use std::fs;

use credential_relay::dev::sts::IssuedLifetime;
use rustix::process::Signal;

use crate::common::{World, two_hops};
use crate::harness::{Program, eventually, run, write_config};

fn with_file(world: &World) -> String {
    let chain = two_hops();
    let file =
        format!("credentials_file: {{ path: {}, section: app }}", world.path("app").display());
    world.text(&[("payments", &chain)]).replace(&chain, &format!("{chain}, {file}"))
}

#[tokio::test]
async fn the_file_holds_what_the_endpoint_serves_and_goes_with_the_relay() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let mut relay = Program::serve(&world, &with_file(&world), &["--drain", "0"]);
    let place = relay.place(&world.path("admin.sock")).await;
    let key = place.answers(&world, "payments", 200).await.key_id();
    let holds = async |key: &str| {
        eventually("the file holds the key", async || {
            let text = fs::read_to_string(world.path("app")).ok()?;
            text.contains(&format!("[app]\naws_access_key_id = {key}\n")).then_some(())
        })
        .await;
    };
    holds(&key).await;
    assert_eq!(place.rotate("payments").await.status, 200);
    let newer = place.credential(&world, "payments").await.key_id();
    assert_ne!(newer, key);
    holds(&newer).await;
    relay.signal(Signal::TERM);
    let left = relay.ended().await;
    assert_eq!(left.code, Some(0), "{left:?}");
    assert!(!world.path("app").exists());
}

#[tokio::test]
async fn somebody_else_s_file_stops_the_start() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let own = "[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\n";
    fs::write(world.path("app"), own).unwrap();
    let config = write_config(&world, &with_file(&world));
    let left = run(&["serve", "--config", config.to_str().unwrap()], &[]).await;
    assert_eq!(left.code, Some(3), "{left:?}");
    assert!(left.err.contains("profiles.payments: credentials_file.path "), "{left:?}");
    assert!(left.err.contains("was not written by credential-relay"), "{left:?}");
    let checked = run(&["check", "--config", config.to_str().unwrap()], &[]).await;
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!(checked.out.contains("was not written by credential-relay"), "{checked:?}");
    assert_eq!(fs::read_to_string(world.path("app")).unwrap(), own);
    assert_eq!(world.sts.ledger().calls(), []);
}
