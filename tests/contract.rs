//! The endpoint's contract with AWS's clients, row by row, over real sockets.
//!
//! Each file of `tests/cases` is one case: the row of the contract that it proves, the state of the
//! store, the request's lines and what must come back. An answer is compared whole: a header that is
//! not expected fails the case.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[path = "contract/connections.rs"]
mod connections;
#[path = "contract/harness.rs"]
mod harness;
#[path = "contract/hostile.rs"]
mod hostile;
#[path = "contract/imds.rs"]
mod imds;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use credential_relay::clock::{Moment, TimeSource};
use credential_relay::credential::{Credential, Principal, Propagation, Session, Validity};
use credential_relay::failure::Cause;
use harness::{Answer, Client, Log, Relay, TOKENS, assert_no_secret, session};
use serde::Deserialize;

/// The rows of the contract. Each must have a case.
const ROWS: [&str; 42] = [
    // Requests to accept, or to refuse by a guard.
    "2 get",
    "2 http/1.0",
    "2 http/1.0 keep-alive",
    "2 http/1.0 no host",
    "2 keep-alive",
    "2 close",
    "2 accept",
    "2 header case",
    "2 host port",
    "2 host name",
    "2 host configured",
    "2 absolute-form",
    "2 token",
    "2 path",
    "2 rebinding",
    "2 no host",
    "2 forwarded",
    // Success.
    "3 document",
    "3 unknown fields",
    "3 keys without a session token",
    "3 never compressed",
    "3 never a redirect",
    // Errors.
    "4 starting",
    "4 starting heals",
    "4 upstream down",
    "4 upstream down heals",
    "4 token missing",
    "4 token wrong",
    "4 unknown profile",
    "4 guard",
    "4 denied",
    "4 valid though down",
    "4 margin",
    "4 never expired",
    "4 method",
    "4 path",
    "4 oversized head",
    "4 never 429",
    "4 never 3xx",
    "4 never 200 with an error",
    "4 never falsified",
    "4 malformed",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    row: String,
    store: String,
    request: Request,
    expect: Expected,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    /// The head. `{name}` stands for a token, `{port}` for the endpoint's, `{1000}` for a text of
    /// that length.
    lines: Vec<String>,
    #[serde(default)]
    body: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    status: u16,
    /// The body, if every byte of it counts.
    text: Option<String>,
    /// An error's code, in both casings.
    code: Option<String>,
    /// Parts of an error's message.
    #[serde(default)]
    message_has: Vec<String>,
    /// Headers beside those that every answer has.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// How long the request is held, by the paused clock.
    #[serde(default)]
    held_ms: u64,
    /// Whether the endpoint closes the connection.
    #[serde(default)]
    closes: bool,
    /// An answer of the HTTP layer: without a body.
    #[serde(default)]
    bare: bool,
    /// An answer whose body is not sent.
    #[serde(default)]
    no_body: bool,
}

fn cases() -> BTreeMap<String, Case> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases");
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let case = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), case)
        })
        .collect()
}

#[test]
fn every_row_has_a_case_and_every_case_a_row() {
    let cases = cases();
    let proven: BTreeSet<&str> = cases.values().map(|case| case.row.as_str()).collect();
    assert_eq!(proven, BTreeSet::from(ROWS));
    let names: BTreeSet<&str> = cases.values().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "two cases have one name");
}

#[test]
fn every_case_holds() {
    for (file, case) in cases() {
        // The name of the last one stands above the assertion that failed.
        println!("{file}: {}", case.name);
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(check(&case));
    }
}

async fn check(case: &Case) {
    let (log, _guard) = Log::capture();
    let relay = Relay::start(8);
    let later = prepare(&relay, &case.store);

    let mut client = relay.connect().await;
    let started = tokio::time::Instant::now();
    client.send(&render(&case.request, &relay)).await;
    let expected = &case.expect;
    let answering = async {
        let answer = client.answer(!expected.no_body).await;
        (answer, started.elapsed())
    };
    let change = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        if let Some(later) = later {
            change(&relay, later);
        }
    };
    let ((answer, held), ()) = tokio::join!(answering, change);
    let answer = answer.expect("closed without an answer");

    assert_eq!(held, Duration::from_millis(expected.held_ms), "{answer:?}");
    if answer.status != 200 {
        assert_no_secret(&format!("{answer:?}"), "the answer");
    }
    assert_answer(&answer, case);
    assert_no_secret(&log.text(), "the log");
    assert_no_secret(&relay.metrics.render(), "the metrics");
    if expected.bare {
        // Who is refused for its head may still be sending it.
        client.send("and more").await;
    }
    if expected.closes {
        client.closed().await;
    } else {
        assert_stays_open(&relay, &mut client).await;
    }
}

/// Asserts that the connection still serves another request: one that is answered at once.
async fn assert_stays_open(relay: &Relay, client: &mut Client) {
    relay.publish_session();
    client.ask().await;
    let next = client.answer(true).await;
    assert_eq!(next.expect("the connection was closed").status, 200);
}

fn render(request: &Request, relay: &Relay) -> String {
    let mut text = request.lines.join("\r\n") + "\r\n\r\n" + &request.body;
    for (name, token) in TOKENS {
        text = text.replace(&format!("{{{name}}}"), token);
    }
    for length in [12_000, 200_000] {
        text = text.replace(&format!("{{{length}}}"), &"x".repeat(length));
    }
    text = text.replace("{port}", &relay.addresses[0].port().to_string());
    assert!(!text.contains('{'), "a place was not filled in: {text}");
    text
}

fn assert_answer(answer: &Answer, case: &Case) {
    let expected = &case.expect;
    assert_eq!(answer.status, expected.status, "{answer:?}");
    let wants_http10 = case.request.lines[0].ends_with("HTTP/1.0");
    let version = if wants_http10 { "HTTP/1.0" } else { "HTTP/1.1" };
    assert!(expected.bare || answer.version == version, "{answer:?}");

    let mut headers = answer.headers.clone();
    assert!(headers.remove("date").is_some(), "{answer:?}");
    let length = headers.remove("content-length");
    if expected.no_body {
        assert!(length.is_some(), "{answer:?}");
    } else {
        assert_eq!(length, Some(answer.body.len().to_string()), "{answer:?}");
    }
    let mut wanted = expected.headers.clone();
    if expected.bare {
        wanted.insert("connection".into(), "close".into());
        assert_eq!((answer.body.as_str(), headers), ("", wanted), "{answer:?}");
        return;
    }
    wanted.insert("content-type".into(), "application/json".into());
    wanted.insert("cache-control".into(), "no-store".into());
    assert_eq!(headers, wanted, "{answer:?}");
    if answer.status == 200 {
        assert_success(answer, expected.text.as_deref());
    } else if !expected.no_body {
        assert_error(answer, expected);
    }
}

fn assert_success(answer: &Answer, text: Option<&str>) {
    if let Some(text) = text {
        assert_eq!(answer.body, text);
    }
    let fields: BTreeMap<String, String> =
        serde_json::from_str(&answer.body).expect("flat, and strings alone");
    assert!(fields.values().all(|value| !value.is_empty()), "{fields:?}");
    assert_eq!(fields["Code"], "Success");
}

fn assert_error(answer: &Answer, expected: &Expected) {
    let fields: BTreeMap<String, String> = serde_json::from_str(&answer.body).unwrap();
    let names: Vec<&str> = fields.keys().map(String::as_str).collect();
    assert_eq!(names, ["Code", "Message", "code", "message"]);
    assert_eq!(fields["code"], fields["Code"]);
    assert_eq!(fields["message"], fields["Message"]);
    assert_eq!(Some(&fields["code"]), expected.code.as_ref(), "{fields:?}");
    for part in &expected.message_has {
        assert!(fields["message"].contains(part), "{fields:?}");
    }
}

const HOUR: Duration = Duration::from_secs(3600);

/// What happens to the store 300 ms after the request.
#[derive(Clone, Copy)]
enum Change {
    /// A credential arrives that was asked for at this moment.
    Arrives(Moment),
    Fails(Cause),
}

fn change(relay: &Relay, change: Change) {
    match change {
        Change::Arrives(issued) => relay.publish(session(issued, HOUR)),
        Change::Fails(cause) => relay.report(cause),
    }
}

/// Brings the profile payments into a state of that name.
fn prepare(relay: &Relay, state: &str) -> Option<Change> {
    let start = relay.clock.now();
    let issue = |lifetime| relay.publish(session(start, lifetime));
    let pass = |time| relay.clock.suspend(time);
    let margin = HOUR - Duration::from_secs(15);
    let a_moment = Duration::from_millis(1);
    match state {
        "pending" => {}
        "pending_heals" => return Some(Change::Arrives(start)),
        "pending_denied" => return Some(Change::Fails(Cause::Denied)),
        "pending_unreachable" => return Some(Change::Fails(Cause::Unreachable)),
        "valid" => issue(HOUR),
        "valid_without_principal" => {
            relay.publish(Credential { principal: Principal::Unknown, ..session(start, HOUR) });
        }
        "long_lived" => relay.publish(Credential {
            access_key_id: "AKIACONTRACTTEST0001".parse().unwrap(),
            session: Session::None,
            validity: Validity::Unlimited,
            principal: Principal::Unknown,
            propagation: Propagation::Done,
            ..session(start, HOUR)
        }),
        "unreachable" => relay.report(Cause::Unreachable),
        "unreachable_heals" => {
            relay.report(Cause::Unreachable);
            return Some(Change::Arrives(start));
        }
        "throttled" => relay.report(Cause::Throttled { retry_after: None }),
        "internal" => relay.report(Cause::Internal),
        "denied" => relay.report(Cause::Denied),
        "misconfigured" => relay.report(Cause::Misconfigured),
        "failing" | "failing_denied" | "expired_failing" | "expired_denied" => {
            issue(HOUR);
            relay.report(if state.ends_with("denied") {
                Cause::Denied
            } else {
                Cause::Unreachable
            });
            if state.starts_with("expired") {
                pass(margin);
            }
        }
        "before_margin" => {
            issue(HOUR);
            pass(margin - a_moment);
        }
        "at_margin" => {
            issue(HOUR);
            pass(margin);
        }
        "short_before_margin" => {
            issue(Duration::from_secs(60));
            pass(Duration::from_secs(54) - a_moment);
        }
        "short_at_margin" => {
            issue(Duration::from_secs(60));
            pass(Duration::from_secs(54));
        }
        "suspended" => {
            issue(HOUR);
            pass(8 * HOUR);
        }
        "suspended_heals" => {
            issue(HOUR);
            pass(HOUR);
            return Some(Change::Arrives(start + HOUR));
        }
        "stepped_forward" => {
            issue(HOUR);
            relay.clock.step_wall(3_600_000);
        }
        "stepped_back" => {
            issue(HOUR);
            relay.clock.step_wall(-3_600_000);
            pass(margin);
        }
        other => panic!("no state is called {other}"),
    }
    None
}
