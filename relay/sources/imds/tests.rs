#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::clock::{ManualClock, Timestamp};
use crate::failure::Advice;
use crate::metrics::Metrics;
use crate::sources::document::fixtures::{KEY, TOKEN as SESSION, document};
use crate::sources::loopback::{self, Answer};
use crate::transport::SendError;

const NOW: i64 = 1_795_565_230;
const SECRET: &str = "AQAEAExampleTokenOfTheMetadataService==";

fn imds(address: SocketAddr) -> (Imds, ManualClock) {
    let endpoint = format!("http://{address}/").parse().unwrap();
    let manual = ManualClock::starting_at(Timestamp::from_secs(NOW));
    let metrics = Metrics::new().profile(&"payments".parse().unwrap());
    let settings = Settings { endpoint };
    let made =
        Imds::new(&settings, &Transports::default(), [].into(), manual.clock(), metrics).unwrap();
    (made, manual)
}

fn good() -> String {
    let end = (Timestamp::from_secs(NOW) + Duration::from_secs(21_600)).to_string();
    document(&end, r#","Code":"Success","LastUpdated":"2026-11-25T00:00:00Z","Type":"AWS-HMAC""#)
}

fn ok(body: &str) -> Answer {
    Answer::Now(200, "", body.to_owned())
}

/// The service as it is, but for what `other` answers in its place.
fn service(other: impl Fn(&str) -> Option<Answer>) -> impl Fn(&str) -> Answer {
    move |head| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let asked = |token: &str| head.contains(&format!("x-aws-ec2-metadata-token: {token}\r\n"));
        match (other(head), path) {
            (Some(answer), _) => answer,
            (None, TOKENS)
                if head.starts_with("PUT ") && head.contains("-ttl-seconds: 21600\r\n") =>
            {
                Answer::Now(
                    200,
                    "x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n",
                    SECRET.to_owned(),
                )
            }
            (None, _) if !asked(SECRET) => Answer::Now(401, "", String::new()),
            (None, ROLES) => ok("node-role\n"),
            (None, "/latest/meta-data/iam/security-credentials/node-role") => ok(&good()),
            (None, _) => Answer::Now(404, "", String::new()),
        }
    }
}

fn path_is<'a>(path: &'a str) -> impl Fn(&str) -> bool + 'a {
    move |head| head.split(' ').nth(1) == Some(path)
}

/// What becomes of a fetch where the service answers `path` so.
async fn failure(
    path: &'static str,
    answer: impl Fn() -> Answer + Send + Sync + 'static,
) -> (Failure, &'static str) {
    let is = path_is(path);
    let (address, _) = loopback::start(service(move |head| is(head).then(&answer))).await;
    let failure = imds(address).0.fetch(Freshness::Reuse).await.unwrap_err();
    let said = format!("{failure} {failure:?}");
    for secret in [SECRET, KEY, SESSION] {
        assert!(!said.contains(secret), "{said}");
    }
    match failure.advice {
        Advice::Known { layer, .. } => (failure, layer),
        Advice::ByCause => panic!("{said} has no advice"),
    }
}

const DOCUMENT: &str = "/latest/meta-data/iam/security-credentials/node-role";

#[tokio::test]
async fn the_token_is_kept_until_near_its_end() {
    let (address, seen) = loopback::start(service(|_| None)).await;
    let (mut source, manual) = imds(address);
    let puts = || seen.lock().unwrap().iter().filter(|head| head.starts_with("PUT ")).count();
    for (passed, asked) in [(0, 1), (19_000, 1), (440, 2)] {
        manual.suspend(Duration::from_secs(passed));
        let _ = source.fetch(Freshness::Reuse).await;
        assert_eq!(puts(), asked, "after {passed} s");
    }
    source.fetch(Freshness::Anew).await.unwrap();
    assert_eq!(puts(), 3);
}

#[tokio::test]
async fn a_token_that_has_died_is_replaced_once() {
    let puts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&puts);
    let (address, seen) = loopback::start(service(move |head| {
        if head.starts_with("PUT ") && counted.fetch_add(1, Ordering::SeqCst) == 0 {
            return Some(ok("a-token-that-dies"));
        }
        // The first token was good for one fetch.
        let first = head.contains("a-token-that-dies") && counted.load(Ordering::SeqCst) == 1;
        let path = head.split(' ').nth(1).unwrap_or_default();
        match path {
            ROLES if first => {
                counted.fetch_add(1, Ordering::SeqCst);
                Some(ok("node-role"))
            }
            DOCUMENT if head.contains("a-token-that-dies") => Some(ok(&good())),
            _ => None,
        }
    }))
    .await;
    let (mut source, _) = imds(address);
    source.fetch(Freshness::Reuse).await.unwrap();
    source.fetch(Freshness::Reuse).await.unwrap();
    let puts = seen.lock().unwrap().iter().filter(|head| head.starts_with("PUT ")).count();
    assert_eq!(puts, 2);
}

#[tokio::test]
async fn refusals_are_explained() {
    let said = |status| move || Answer::Now(status, "", String::new());
    for (path, status, cause, layer) in [
        (TOKENS, 403, Cause::Denied, "metadata options"),
        (TOKENS, 404, Cause::Denied, "metadata service"),
        (TOKENS, 503, Cause::Transient, "metadata service"),
        (ROLES, 401, Cause::StaleCaller, "metadata service"),
        (ROLES, 404, Cause::NotConfigured, "instance profile"),
        (ROLES, 500, Cause::Transient, "metadata service"),
        (DOCUMENT, 404, Cause::NotConfigured, "instance profile"),
        (DOCUMENT, 429, Cause::Throttled { retry_after: None }, "metadata service"),
    ] {
        let (failure, found) = failure(path, said(status)).await;
        assert_eq!((failure.cause, found), (cause, layer), "{path} {status}: {failure}");
    }
    let redirect = || Answer::Now(301, "location: http://evil.test/\r\n", String::new());
    assert_eq!(failure(TOKENS, redirect).await.0.cause, Cause::Misconfigured);
}

#[tokio::test]
async fn a_token_that_never_comes_is_the_hop_limit() {
    let (failure, layer) = failure(TOKENS, || Answer::Never).await;
    assert_eq!((failure.cause, layer), (Cause::Unreachable, "hop limit"));
    assert!(failure.reason.contains("never answered"), "{failure}");
    assert!(failure.advice.fix().unwrap().contains("--http-put-response-hop-limit 2"));
}

#[tokio::test]
async fn nobody_there_is_no_hop_limit() {
    // Nobody has listened on this port for decades; one that was free a moment ago may be somebody's.
    let failure = imds(([127, 0, 0, 1], 1).into()).0.fetch(Freshness::Reuse).await.unwrap_err();
    assert_eq!(failure.cause, Cause::Unreachable);
    assert!(failure.advice.fix().unwrap().contains("NetworkPolicy"), "{failure:?}");

    let dropped = Refusal::NotSent(SendError::NoConnection(LIMIT));
    assert_eq!(explain::refusal(Operation::Token, &dropped).layer, "address");
}

#[tokio::test]
async fn answers_of_no_use_are_explained() {
    let (ended, _) =
        failure(DOCUMENT, || ok(&document("2001-01-01T00:00:00Z", r#","Code":"Success""#))).await;
    assert_eq!(ended.cause, Cause::Transient);
    assert!(ended.reason.starts_with("degraded: "), "{ended}");

    let untrusted = r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"EC2 cannot assume"}"#;
    let (untrusted, layer) = failure(DOCUMENT, || ok(untrusted)).await;
    assert_eq!((untrusted.cause, layer), (Cause::Denied, "instance profile"));
    assert!(untrusted.advice.fix().unwrap().contains("ec2.amazonaws.com"));

    let echoed = || ok(&format!(r#"{{"Code":"Failed","Message":"not by {SECRET}"}}"#));
    let (failed, _) = failure(DOCUMENT, echoed).await;
    assert_eq!(failed.cause, Cause::Transient);
    assert!(failed.reason.ends_with("Failed: not by [redacted]"), "{failed}");

    for (path, body) in [
        (TOKENS, ""),
        (TOKENS, "two words"),
        (ROLES, ""),
        (ROLES, "../../user-data"),
        (ROLES, "<html>"),
        // Something that says the same to whatever it is asked.
        (ROLES, SECRET),
        (DOCUMENT, "<html>"),
    ] {
        let (failure, layer) = failure(path, move || ok(body)).await;
        assert_eq!((failure.cause, layer), (Cause::Transient, "metadata service"), "{failure}");
    }
    assert_eq!(failure(DOCUMENT, || Answer::Endless).await.0.cause, Cause::Transient);
}
