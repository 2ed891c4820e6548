//! A panic whose message holds a secret. The hook belongs to the whole process, so the panic has a
//! process of its own: this test program again, with one test alone.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use credential_relay::clock::Clock;
use credential_relay::config::LongLivedKeys;
use credential_relay::metrics::Metrics;
use credential_relay::rotation::{Rotation, Suspicion};
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

const ALONE: &str = "CREDENTIAL_RELAY_TEST_ALONE";

/// Runs a test again in a process of its own, where `panics` is what it does, and reads what that
/// process told.
fn alone(test: &str, panics: impl FnOnce()) {
    if std::env::var_os(ALONE).is_some() {
        return panics();
    }
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let told = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
    assert!(ran.status.success() && told.contains("1 passed"), "{told}");
    assert!(told.contains("a bug of the relay, please report it"), "{told}");
    assert!(told.contains("tests/relay/panics.rs:"), "{told}");
    Secrets::new([USER_SECRET]).assert_untold(&[("the log".to_owned(), told)]);
}

async fn rotate_over_a_panic() {
    let level = |name: &str| (name == "CREDENTIAL_RELAY_LOG").then(|| "trace".to_owned());
    telemetry::Settings::read(level).unwrap().start();
    let clock = Clock::system();
    let (publisher, reader) = store::channel(clock.now().wall);
    let profile: credential_relay::config::values::ProfileName = "payments".parse().unwrap();
    let rotation = Rotation {
        metrics: Metrics::new().profile(&profile),
        audit: credential_relay::audit::Audit::Off,
        profile,
        source: Box::new(Panics),
        long_lived_keys: LongLivedKeys::Refused,
        proof: None,
        suspicion: Suspicion::None,
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
fn a_source_that_panics_is_a_failure_and_its_message_stays_untold() {
    alone("panics::a_source_that_panics_is_a_failure_and_its_message_stays_untold", || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(rotate_over_a_panic());
    });
}

#[test]
fn a_command_that_panics_tells_its_place_and_not_its_message() {
    alone("panics::a_command_that_panics_tells_its_place_and_not_its_message", || {
        telemetry::quiet_panics();
        std::panic::catch_unwind(|| panic!("cannot use {USER_SECRET}")).unwrap_err();
    });
}
