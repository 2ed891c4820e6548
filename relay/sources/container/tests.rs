#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use super::*;
use crate::clock::{ManualClock, Timestamp};
use crate::metrics::Metrics;
use crate::sources::document::fixtures::{KEY, TOKEN as SESSION, document};
use crate::sources::loopback::{self, Answer};

const NOW: i64 = 1_795_565_230;
const JWT: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJwYXltZW50cyJ9.c2lnbmF0dXJl";

fn good(secs: u64) -> String {
    let end = (Timestamp::from_secs(NOW) + Duration::from_secs(secs)).to_string();
    document(&end, r#","AccountId":"111122223333""#)
}

fn container(address: SocketAddr, authorization: Authorization, own: &[SocketAddr]) -> Container {
    let uri = format!("http://{address}/v1/credentials").parse().unwrap();
    let clock = ManualClock::starting_at(Timestamp::from_secs(NOW)).clock();
    let metrics = Metrics::new().profile(&"payments".parse().unwrap());
    let settings = Settings { uri, authorization };
    Container::new(&settings, &Transports::default(), own.into(), clock, metrics).unwrap()
}

fn token_file(text: &str) -> (tempfile::TempDir, Authorization) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, text).unwrap();
    (folder, Authorization::File(path))
}

/// What becomes of a fetch with a token's file, where the agent answers so.
async fn failure(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Failure {
    let (address, _) = loopback::start(answer).await;
    let (_folder, authorization) = token_file(JWT);
    let mut source = container(address, authorization, &[]);
    let failure = source.fetch(Freshness::Reuse).await.unwrap_err();
    let said = format!("{failure} {failure:?}");
    for secret in [JWT, KEY, SESSION, "c2lnbmF0dXJl"] {
        assert!(!said.contains(secret), "{said}");
    }
    assert!(failure.advice.fix().is_some(), "{said}");
    failure
}

#[tokio::test]
async fn the_file_is_read_and_trimmed_at_each_request() {
    let (address, seen) = loopback::start(|_| Answer::Now(200, "", good(3600))).await;
    let (folder, authorization) = token_file(&format!(" {JWT}\n"));
    let mut source = container(address, authorization, &[]);
    let credential = source.fetch(Freshness::Reuse).await.unwrap();
    assert_eq!(credential.secret_access_key.expose(), KEY);
    std::fs::write(folder.path().join("token"), "Basic other\r\n").unwrap();
    source.fetch(Freshness::Reuse).await.unwrap();
    let seen = seen.lock().unwrap();
    for (head, token) in seen.iter().zip([JWT, "Basic other"]) {
        assert!(head.starts_with("GET /v1/credentials HTTP/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("\r\nauthorization: {token}\r\n")), "{head}");
        assert!(head.contains("\r\naccept: application/json\r\n"), "{head}");
    }
    assert_eq!(seen.len(), 2);
}

#[tokio::test]
async fn the_variable_or_nothing_is_sent() {
    let (address, seen) = loopback::start(|_| Answer::Now(200, "", good(3600))).await;
    let mut source = container(address, Authorization::Variable, &[]);
    source.look_up = |name| (name == TOKEN).then(|| "Bearer of-the-variable ".to_owned());
    source.fetch(Freshness::Reuse).await.unwrap();
    assert!(seen.lock().unwrap()[0].contains("\r\nauthorization: Bearer of-the-variable\r\n"));
    container(address, Authorization::Nothing, &[]).fetch(Freshness::Reuse).await.unwrap();
    assert!(!seen.lock().unwrap()[1].contains("authorization"));

    type LookUp = fn(&str) -> Option<String>;
    let cases: [(LookUp, &str); 2] =
        [(|_| None, "is blank"), (|_| Some("two\nlines".to_owned()), "no header can")];
    for (look_up, said) in cases {
        source.look_up = look_up;
        let failure = source.fetch(Freshness::Reuse).await.unwrap_err();
        assert_eq!(failure.cause, Cause::Misconfigured);
        assert!(failure.reason.contains(said) && !failure.reason.contains("two"), "{failure}");
    }
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_file_of_no_use_is_not_the_way_to_another_identity() {
    let (address, seen) = loopback::start(|_| Answer::Now(200, "", good(3600))).await;
    let missing = Authorization::File(Path::new("/no/such/token").to_owned());
    let (_one, empty) = token_file(" \n");
    let (_two, lines) = token_file(&format!("{JWT}\n{JWT}"));
    for (authorization, said) in
        [(missing, "cannot be read"), (empty, "it is empty"), (lines, "on one line")]
    {
        let failure =
            container(address, authorization, &[]).fetch(Freshness::Reuse).await.unwrap_err();
        assert_eq!(failure.cause, Cause::Transient);
        assert!(failure.reason.contains(said) && !failure.reason.contains(JWT), "{failure}");
    }
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn refusals_are_explained_without_the_token() {
    type Case = (u16, &'static str, String, Cause, &'static str);
    let cases: [Case; 9] = [
        (
            400,
            "",
            format!("Service account token cannot be parsed: {JWT}"),
            Cause::StaleCaller,
            "token",
        ),
        (401, "", String::new(), Cause::StaleCaller, "token"),
        (
            404,
            "",
            "[r]: (ResourceNotFoundException): none, fault: client".into(),
            Cause::Denied,
            "association",
        ),
        (
            400,
            "",
            "[r]: (AccessDeniedException): no, fault: client".into(),
            Cause::Denied,
            "association",
        ),
        (404, "", "404 page not found".into(), Cause::Denied, "address"),
        (
            403,
            "",
            "Access Denied. Called agent through invalid address".into(),
            Cause::Denied,
            "agent",
        ),
        (
            500,
            "",
            r#"{"code":"InternalServerError","message":"no"}"#.into(),
            Cause::Transient,
            "agent",
        ),
        (
            302,
            "location: http://127.0.0.1:1/steal?key=1\r\n",
            String::new(),
            Cause::Misconfigured,
            "address",
        ),
        (
            429,
            "retry-after: 7\r\n",
            String::new(),
            Cause::Throttled { retry_after: Some(Duration::from_secs(7)) },
            "agent",
        ),
    ];
    for (status, headers, body, cause, layer) in cases {
        let told = body.clone();
        let failure = failure(move |_| Answer::Now(status, headers, body.clone())).await;
        assert_eq!(failure.cause, cause, "{failure}");
        assert!(
            matches!(failure.advice, crate::failure::Advice::Known { layer: found, .. } if found == layer),
            "{status} {told}: {:?}",
            failure.advice
        );
        assert!(!failure.reason.contains("key=1"), "{failure}");
    }
}

/// One that is no JWT is known by nothing but its text.
#[tokio::test]
async fn the_token_is_not_told_wherever_an_answer_has_it() {
    const OPAQUE: &str = "an/opaque-token@of-the-agent";
    let far = "x ".repeat(505);
    for (status, headers, body) in [
        (200, "", format!(r#"{{"Code":"not{OPAQUE}"}}"#)),
        (200, "", format!(r#"{{"Code":"Failed","Message":"sent {OPAQUE}"}}"#)),
        (200, "", format!(r#"{{"AccessKeyId":"{OPAQUE}"}}"#)),
        (400, "", format!(r#"{{"code":"{OPAQUE}","message":"{OPAQUE}"}}"#)),
        (400, "", format!("sent {OPAQUE}")),
        (502, "", format!("{}{far}{OPAQUE}", "y".repeat(700))),
        (302, "location: http://an/opaque-token@of-the-agent/x\r\n", String::new()),
        (302, "location: http://host-an/opaque-token@of-the-agent\r\n", String::new()),
    ] {
        let (address, _) =
            loopback::start(move |_| Answer::Now(status, headers, body.clone())).await;
        let (_folder, authorization) = token_file(OPAQUE);
        let mut source = container(address, authorization, &[]);
        let failure = source.fetch(Freshness::Reuse).await.unwrap_err();
        let said = format!("{failure} {failure:?}");
        for part in ["opaque", "-token", "of-the-agent", "/an", "-an"] {
            assert!(!said.contains(part), "{status}: {said}");
        }
    }
}

#[tokio::test]
async fn answers_of_no_use_are_explained() {
    let ended = failure(|_| Answer::Now(200, "", document("2001-01-01T00:00:00Z", ""))).await;
    assert_eq!(ended.cause, Cause::Transient);
    assert!(ended.reason.contains("ended at 2001-01-01T00:00:00Z"), "{ended}");

    let half = failure(|_| Answer::Now(200, "", good(3600)[..90].to_owned())).await;
    assert!(half.reason.contains("not a credentials document"), "{half}");

    let refused = r#"{"Code":"Failed","Message":"not now"}"#;
    let refused = failure(move |_| Answer::Now(200, "", refused.to_owned())).await;
    assert!(refused.reason.contains("Failed: not now"), "{refused}");

    let endless = failure(|_| Answer::Endless).await;
    assert_eq!(endless.cause, Cause::Transient);
    assert!(endless.reason.contains("broke off"), "{endless}");

    let late = failure(|_| Answer::Never).await;
    assert_eq!(late.cause, Cause::Unreachable);
    assert!(late.reason.contains("no answer within 10 s"), "{late}");
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_unreachable() {
    // Nobody has listened on this port for decades; one that was free a moment ago may be somebody's.
    let mut source = container(([127, 0, 0, 1], 1).into(), Authorization::Nothing, &[]);
    let failure = source.fetch(Freshness::Reuse).await.unwrap_err();
    assert_eq!(failure.cause, Cause::Unreachable);
    assert!(failure.reason.contains("refused"), "{failure}");
}

#[tokio::test]
async fn the_relay_does_not_ask_itself() {
    let (address, seen) = loopback::start(|_| Answer::Now(200, "", good(3600))).await;
    let everywhere = SocketAddr::from(([0, 0, 0, 0], address.port()));
    let (_folder, authorization) = token_file(JWT);
    for (host, own) in [("127.0.0.1", address), ("localhost", address), ("localhost", everywhere)] {
        let mut source = container(address, authorization.clone(), &[own]);
        let uri = format!("http://{host}:{}/v1/credentials/payments", address.port());
        source.settings.uri = uri.parse().unwrap();
        let failure = source.fetch(Freshness::Reuse).await.unwrap_err();
        assert_eq!(failure.cause, Cause::Misconfigured);
        assert!(failure.reason.contains("the relay itself"), "{failure}");
    }
    assert!(seen.lock().unwrap().is_empty());
}
