//! The emulation of the instance metadata service, over real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use credential_relay::audit::Audit;
use credential_relay::clock::{ManualClock, TimeSource};
use credential_relay::config::ImdsVersions;
use credential_relay::endpoint::{Directory, Keyring, Profile, imds};
use credential_relay::failure::Cause;
use credential_relay::metrics::Metrics;
use credential_relay::shutdown::{self, Trigger};
use credential_relay::store::{self, Publisher};
use tokio::sync::watch;

use crate::harness::{
    Answer, Client, SECRET_KEY, SESSION_TOKEN, START, assert_no_secret, failure, served,
};

const NAMES: &str = "/latest/meta-data/iam/security-credentials/";
pub(crate) const ONE: &str = "/latest/meta-data/iam/security-credentials/payments";

pub(crate) struct Imds {
    pub(crate) address: SocketAddr,
    clock: ManualClock,
    payments: Publisher,
    metrics: Metrics,
    directory: watch::Sender<Arc<Directory>>,
    _running: Trigger,
}

impl Imds {
    pub(crate) fn start(versions: ImdsVersions) -> Self {
        let clock = ManualClock::starting_at(START);
        let metrics = Metrics::new();
        let (payments, reader) = store::channel(START);
        let profile =
            Profile::new("payments".parse().unwrap(), reader, Keyring::default(), &metrics);
        let (directory, served) = watch::channel(Arc::new(Directory::new(vec![Arc::new(profile)])));
        let bound = imds::bind(([127, 0, 0, 1], 0).into(), versions).unwrap();
        let address = bound.address().unwrap();
        let (_running, signal) = shutdown::channel();
        tokio::spawn(bound.serve(served, clock.clock(), &metrics, Audit::Off, signal));
        Self { address, clock, payments, metrics, directory, _running }
    }

    pub(crate) fn publish(&self) {
        self.payments.publish(served(self.clock.now()));
    }

    async fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let mut client = Client::connect(self.address).await;
        client.send(&format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n")).await;
        client.answer(method != "HEAD").await.unwrap()
    }

    pub(crate) async fn token(&self) -> String {
        let seconds = "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
        let answer = self.ask("PUT", "/latest/api/token", seconds).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["x-aws-ec2-metadata-token-ttl-seconds"], "60");
        format!("X-aws-ec2-metadata-token: {}\r\n", answer.body)
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_then_the_role_then_its_credentials() {
    let imds = Imds::start(ImdsVersions::V2);
    imds.publish();
    let token = imds.token().await;
    for path in [NAMES, NAMES.trim_end_matches('/')] {
        let names = imds.ask("GET", path, &token).await;
        assert_eq!((names.status, names.body.as_str()), (200, "payments"));
        assert_eq!(names.headers["content-type"], "text/plain");
    }
    let answer = imds.ask("GET", ONE, &token).await;
    assert_eq!(
        answer.body,
        format!(
            r#"{{"Code":"Success","LastUpdated":"2026-11-24T23:07:10Z","Type":"AWS-HMAC","AccessKeyId":"ASIACONTRACTTEST0001","SecretAccessKey":"{SECRET_KEY}","Token":"{SESSION_TOKEN}","Expiration":"2026-11-25T00:07:10Z"}}"#
        )
    );
    assert_eq!((answer.status, answer.headers["cache-control"].as_str()), (200, "no-store"));
    let issued = r#"credential_relay_requests_total{profile="payments",decision="issued"} 3"#;
    assert!(imds.metrics.render().lines().any(|line| line == issued));
}

#[tokio::test(start_paused = true)]
async fn without_a_good_token_there_is_nothing() {
    let imds = Imds::start(ImdsVersions::V2);
    imds.publish();
    let token = imds.token().await;
    let other = Imds::start(ImdsVersions::V2).token().await;
    let twice = format!("{token}{token}");
    for headers in ["", "X-aws-ec2-metadata-token: x\r\n", &other, &twice] {
        for path in [NAMES, ONE] {
            let answer = imds.ask("GET", path, headers).await;
            assert_eq!(answer.status, 401, "{headers}");
            assert_no_secret(&answer.body, path);
        }
    }
    imds.clock.suspend(Duration::from_secs(60));
    assert_eq!(imds.ask("GET", ONE, &token).await.status, 401, "it has ended");
}

#[tokio::test(start_paused = true)]
async fn the_first_version_asks_for_no_token_but_a_wrong_one_is_refused() {
    let imds = Imds::start(ImdsVersions::Both);
    imds.publish();
    assert_eq!(imds.ask("GET", ONE, "").await.status, 200);
    let answer = imds.ask("GET", ONE, "X-aws-ec2-metadata-token: x\r\n").await;
    assert_eq!(answer.status, 401);
}

#[tokio::test(start_paused = true)]
async fn what_did_not_come_from_an_application_is_refused() {
    let imds = Imds::start(ImdsVersions::Both);
    imds.publish();
    let seconds = "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
    let forwarded = format!("{seconds}X-Forwarded-For: 10.0.0.1\r\n");
    assert_eq!(imds.ask("PUT", "/latest/api/token", &forwarded).await.status, 403);
    let via = "Via: 1.1 proxy\r\n";
    assert_eq!(imds.ask("GET", ONE, via).await.status, 403);
    let mut client = Client::connect(imds.address).await;
    client.send(&format!("GET {ONE} HTTP/1.1\r\nHost: evil.example\r\n\r\n")).await;
    assert_eq!(client.answer(true).await.unwrap().status, 403);
}

#[tokio::test(start_paused = true)]
async fn other_requests_are_told_what_would_be_right() {
    let imds = Imds::start(ImdsVersions::V2);
    imds.publish();
    let token = imds.token().await;
    for seconds in ["", "0", "21601", "-1", "6e1", "60\r\nX-aws-ec2-metadata-token-ttl-seconds: 60"]
    {
        let header = format!("X-aws-ec2-metadata-token-ttl-seconds: {seconds}\r\n");
        let answer = imds.ask("PUT", "/latest/api/token", &header).await;
        assert_eq!(answer.status, 400, "{seconds}");
        assert!(answer.body.contains("1 to 21600"), "{}", answer.body);
    }
    for (method, path, status) in [
        ("GET", "/latest/api/token", 405),
        ("POST", ONE, 405),
        ("GET", "/", 404),
        ("GET", "/latest/meta-data/", 404),
        ("GET", "/latest/meta-data/iam/security-credentials-extended/", 404),
        ("GET", "/latest/meta-data/iam/security-credentials/other", 404),
        ("GET", "/latest/meta-data/iam/security-credentials/payments/more", 404),
        ("GET", "/v1/credentials/payments", 404),
    ] {
        assert_eq!(imds.ask(method, path, &token).await.status, status, "{method} {path}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_given_out_that_is_not_valid() {
    let imds = Imds::start(ImdsVersions::V2);
    let token = imds.token().await;
    assert_eq!(imds.ask("GET", NAMES, &token).await.status, 503, "nothing yet");
    imds.payments.report(failure(Cause::Denied), imds.clock.now());
    assert_eq!(imds.ask("GET", ONE, &token).await.status, 403);
    imds.publish();
    imds.clock.step_wall(3600 * 1000);
    let expired = imds.ask("GET", ONE, &token).await;
    assert_eq!(expired.status, 503);
    assert_no_secret(&expired.body, "an answer after the end");
}

#[tokio::test(start_paused = true)]
async fn a_request_is_held_while_the_first_credential_comes() {
    let imds = Imds::start(ImdsVersions::V2);
    let token = imds.token().await;
    let held = imds.ask("GET", ONE, &token);
    let publish = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        imds.publish();
    };
    assert_eq!(tokio::join!(held, publish).0.status, 200);
}

#[tokio::test(start_paused = true)]
async fn with_several_profiles_none_is_served() {
    let imds = Imds::start(ImdsVersions::Both);
    imds.publish();
    let profile = |name: &str| {
        let (_, reader) = store::channel(START);
        Arc::new(Profile::new(name.parse().unwrap(), reader, Keyring::default(), &imds.metrics))
    };
    imds.directory.send_replace(Arc::new(Directory::new(vec![profile("payments"), profile("b")])));
    for path in [NAMES, ONE] {
        assert_eq!(imds.ask("GET", path, "").await.status, 404);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_held_is_answered_by_what_takes_the_profile_s_place() {
    let imds = Imds::start(ImdsVersions::Both);
    let (publisher, reader) = store::channel(START);
    let name = "payments".parse().unwrap();
    let next = Profile::new(name, reader, Keyring::default(), &imds.metrics);
    publisher.publish(served(imds.clock.now()));
    let replace = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        imds.directory.send_replace(Arc::new(Directory::new(vec![Arc::new(next)])));
    };
    assert_eq!(tokio::join!(imds.ask("GET", ONE, ""), replace).0.status, 200);
}
