//! A panic whose message holds a secret. The hook belongs to the whole process, so the panic has a
//! process of its own: this test program again, with one test alone.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use credential_relay::clock::Clock;
use credential_relay::config::LongLivedKeys;
use credential_relay::metrics::Metrics;
use credential_relay::rotation::Rotation;
use credential_relay::sources::{Fetch, Freshness, Source};
use credential_relay::store::{self, Snapshot};
use credential_relay::telemetry;

use crate::common::USER_SECRET;
use crate::harness::eventually;
use crate::search::Secrets;

struct Panics;

impl Source for Panics {
    fn kind(&self) -> &'static str {
        "panics"
    }

    fn fetch(&mut self, _: Freshness) -> Fetch<'_> {
        Box::pin(async { panic!("cannot use {USER_SECRET}") })
    }
}

#[tokio::test]
#[ignore = "the test below runs it, in a process of its own"]
async fn a_source_panics() {
    let level = |name: &str| (name == "CREDENTIAL_RELAY_LOG").then(|| "trace".to_owned());
    telemetry::Settings::read(level).unwrap().start();
    let clock = Clock::system();
    let (publisher, reader) = store::channel(clock.now().wall);
    let profile: credential_relay::config::values::ProfileName = "payments".parse().unwrap();
    let rotation = Rotation {
        metrics: Metrics::new().profile(&profile),
        profile,
        source: Box::new(Panics),
        long_lived_keys: LongLivedKeys::Refused,
        publisher,
        clock,
        attempt_timeout: Duration::from_secs(60),
    };
    tokio::spawn(rotation.run());
    let failure = eventually("the panic is a failure", async || match &*reader.borrow() {
        Snapshot::Unavailable(failure) => Some(Arc::clone(failure)),
        _ => None,
    })
    .await;
    assert_eq!(
        failure.to_string(),
        "relay: the source panicked, which is a bug of the relay; the log says where"
    );
}

#[test]
#[ignore = "the test below runs it, in a process of its own"]
fn a_command_panics() {
    telemetry::quiet_panics();
    std::panic::catch_unwind(|| panic!("cannot use {USER_SECRET}")).unwrap_err();
}

#[test]
fn a_panic_tells_its_place_and_not_its_message() {
    for panicking in ["panics::a_source_panics", "panics::a_command_panics"] {
        let ran = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", panicking, "--ignored", "--nocapture"])
            .output()
            .unwrap();
        let told = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
        assert!(ran.status.success() && told.contains("1 passed"), "{told}");
        assert!(told.contains("a bug of the relay, please report it"), "{told}");
        assert!(told.contains("tests/relay/panics.rs:"), "{told}");
        Secrets::new([USER_SECRET]).assert_untold(&[("the log".to_owned(), told)]);
    }
}
