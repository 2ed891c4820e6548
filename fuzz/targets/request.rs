//! The bytes of a connection to the endpoint: hyper's reading of them, the guard, the access tokens, the answers.

#![no_main]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use credential_relay::audit::Audit;
use credential_relay::clock::{Clock, ManualClock};
use credential_relay::config;
use credential_relay::credential::{
    Credential, Lifetime, Principal, Propagation, Secret, Session, Validity,
};
use credential_relay::endpoint::{self, Directory, Keyring, Profile};
use credential_relay::failure::{Cause, Failure, Stage};
use credential_relay::metrics::Metrics;
use credential_relay::shutdown::{self, Trigger};
use credential_relay::store::{self, Publisher, Served};
use credential_relay_fuzz::told::assert_untold;
use credential_relay_fuzz::{START, execute, log, runtime};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// The profiles, each with its access token; `tests/cases` calls the first one's by its name.
const PROFILES: [(&str, &str); 4] = [
    ("payments", "access-token-of-payments-0001"),
    ("reports", "access-token-of-reports-00001"),
    ("ledger", "access-token-of-ledger-000001"),
    ("audit", "access-token-of-audit-0000001"),
];
/// Longer than a credential lives is no execution.
const LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);

struct Relay {
    address: SocketAddr,
    /// What each profile that has a credential answers.
    bodies: BTreeMap<&'static str, Vec<u8>>,
    secrets: Vec<String>,
    _publishers: Vec<Publisher>,
    _directory: watch::Sender<Arc<Directory>>,
    _trigger: Trigger,
}

thread_local! {
    static WORLD: (Runtime, Relay) = {
        log::keep();
        let runtime = runtime();
        let relay = runtime.block_on(async { Relay::start() });
        (runtime, relay)
    };
}

fn credential(profile: &str, clock: &Clock) -> Credential {
    Credential {
        access_key_id: format!("ASIAFUZZTEST0{}", profile.to_uppercase()).parse().expect("an id"),
        secret_access_key: Secret::new(format!("secret+key/of/{profile}")),
        session: Session::Token(Secret::new(format!("session+token/of/{profile}="))),
        validity: Validity::Until(Lifetime::from_request(clock.now(), LIFE, None)),
        principal: Principal::Unknown,
        propagation: Propagation::Done,
    }
}

impl Relay {
    /// payments and reports have credentials, ledger's are on their way, audit's were denied.
    fn start() -> Self {
        let clock = ManualClock::starting_at(START).clock();
        let metrics = Metrics::new();
        let (mut publishers, mut served, mut bodies) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut secrets: Vec<_> = PROFILES.map(|(_, token)| token.to_owned()).into();
        for (name, token) in PROFILES {
            let (publisher, reader) = store::channel(START);
            match name {
                "ledger" => {}
                "audit" => {
                    let denied =
                        Failure::new(Cause::Denied, Stage::Base("vault"), "permission denied");
                    publisher.report(Arc::new(denied), clock.now());
                }
                _ => {
                    let credential = credential(name, &clock);
                    secrets.extend(credential.secrets().map(|secret| secret.expose().to_owned()));
                    let credential =
                        Served::new(credential, clock.now()).expect("it is fit to be served");
                    bodies.insert(name, credential.body().to_vec());
                    publisher.publish(Arc::new(credential));
                }
            }
            let tokens = vec![token.parse().expect("a token")];
            let keyring = Keyring { tokens, ..Keyring::default() };
            let name = name.parse().expect("a name");
            served.push(Arc::new(Profile::new(name, reader, keyring, &metrics)));
            publishers.push(publisher);
        }
        let (directory, receiver) = watch::channel(Arc::new(Directory::new(served)));
        let bound = endpoint::bind(&config::Endpoint {
            listen: ([127, 0, 0, 1], 0).into(),
            hosts: vec!["relay.internal".to_owned()],
            max_connections: 16,
        });
        let bound = bound.expect("loopback can be bound");
        let address = bound.addresses()[0];
        let (trigger, signal) = shutdown::channel();
        tokio::spawn(bound.serve(receiver, clock, &metrics, Audit::Off, signal));
        Self {
            address,
            bodies,
            secrets,
            _publishers: publishers,
            _directory: directory,
            _trigger: trigger,
        }
    }

    /// All that is answered to these bytes, and whether the endpoint then closed the connection.
    async fn say(&self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        // Thousands of connections a second would else use up the ports of this machine.
        let _ = stream.set_zero_linger();
        let (mut reading, mut writing) = stream.split();
        let mut answers = Vec::new();
        let read = async {
            // A request is held for less than this, and who is hung up on for saying nonsense is listened to for
            // a second more; a head that never ends is waited for longer, in vain.
            let patience = Duration::from_secs(5);
            loop {
                match tokio::time::timeout(patience, reading.read_buf(&mut answers)).await {
                    Ok(Ok(1..)) => {}
                    Ok(_) => break true,
                    Err(_) => break false,
                }
            }
        };
        let write = async {
            // Whoever says too much is hung up on.
            let _ = writing.write_all(bytes).await;
        };
        let (closed, ()) = tokio::join!(read, write);
        (answers, closed)
    }

    fn check(&self, said: &[u8], answers: &[u8], closed: bool) {
        let answers = taken_apart(answers);
        let heads = said.windows(4).filter(|four| four == b"\r\n\r\n").count();
        let heads = heads
            + said.windows(2).filter(|two| two == b"\n\n").count()
            + said.windows(3).filter(|three| three == b"\n\r\n").count();
        assert!(answers.len() <= heads + 1, "{} answers to {heads} heads at most", answers.len());
        let mut granted = 0;
        for (number, answer) in answers.iter().enumerate() {
            let last = number + 1 == answers.len();
            match answer.status {
                200 => {
                    granted += 1;
                    self.check_grant(said, answer);
                }
                400 | 431 => {
                    assert!(last && closed, "a malformed head does not end the connection")
                }
                401 | 403 | 404 | 405 | 503 => {
                    assert!(!last || closed || !answer.closes, "it says that it closes");
                }
                other => panic!("the contract knows no {other}"),
            }
            let secrets: Vec<&str> = self.secrets.iter().map(String::as_str).collect();
            assert_untold("a head", &answer.head, &secrets);
            if answer.status != 200 {
                assert_untold("an error", &String::from_utf8_lossy(&answer.body), &secrets);
            }
        }
        if granted > 0 {
            check_alone(said);
        }
    }

    /// Whoever is given a profile's keys has said its token.
    fn check_grant(&self, said: &[u8], answer: &Answer) {
        let given = self.bodies.iter().find(|(_, body)| **body == answer.body);
        let (name, _) = given.expect("200 comes with a profile's document");
        let (_, token) =
            PROFILES.iter().find(|(known, _)| known == name).expect("it is one of them");
        let token = token.as_bytes();
        assert!(said.windows(token.len()).any(|bytes| bytes == token), "{name} without its token");
    }
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
    closes: bool,
}

/// The answers of a connection, which must be whole.
fn taken_apart(mut bytes: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut parsed = httparse::Response::new(&mut headers);
        let read = parsed.parse(bytes).expect("an answer is HTTP");
        let httparse::Status::Complete(length) = read else { panic!("half an answer: {bytes:?}") };
        let status = parsed.code.unwrap_or_default();
        let header = |name: &str| {
            let mut found = parsed.headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name));
            found.next().map(|header| String::from_utf8_lossy(header.value).into_owned())
        };
        let closes = header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let announced: usize =
            header("content-length").map_or(0, |text| text.parse().expect("a number"));
        let (head, rest) = bytes.split_at(length);
        // What answers HEAD announces a body that it does not have; nothing comes after it here but another answer.
        let body = if rest.starts_with(b"HTTP/1.") || rest.is_empty() { 0 } else { announced };
        assert!(rest.len() >= body, "half a body");
        let (body, rest) = rest.split_at(body);
        answers.push(Answer {
            status,
            head: String::from_utf8_lossy(head).into_owned(),
            body: body.to_vec(),
            closes,
        });
        bytes = rest;
    }
    answers
}

/// What a single request must be that was granted: asked of this machine by one of its names, by nobody who passes on
/// what others ask, with one token.
fn check_alone(said: &[u8]) {
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(length)) = request.parse(said) else { return };
    if length != said.len() {
        return;
    }
    let all = |name: &str| -> Vec<&[u8]> {
        let named = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value).collect()
    };
    assert_eq!(request.method, Some("GET"));
    for forwarded in ["forwarded", "via", "x-forwarded-for", "x-forwarded-host"] {
        assert!(all(forwarded).is_empty(), "granted to what was forwarded");
    }
    assert_eq!(all("authorization").len(), 1, "one token");
    let path = request.path.unwrap_or_default();
    let target = path.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or_default());
    match all("host").as_slice() {
        [host] => assert!(is_own(host), "granted to {}", String::from_utf8_lossy(host)),
        [] => assert_eq!(request.version, Some(0), "HTTP/1.1 without Host"),
        _ => panic!("granted to two hosts"),
    }
    assert!(target.is_none_or(|target| is_own(target.as_bytes())), "granted to {target:?}");
}

fn is_own(authority: &[u8]) -> bool {
    let text = String::from_utf8_lossy(authority).to_ascii_lowercase();
    let name = match text.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => text.as_str(),
    };
    // The ways to write ::1 are many.
    ["127.0.0.1", "localhost", "relay.internal"].contains(&name)
        || name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).is_some_and(|literal| {
            let address = literal.split('%').next().unwrap_or_default();
            address.parse() == Ok(std::net::Ipv6Addr::LOCALHOST)
        })
}

fuzz_target!(|said: &[u8]| {
    WORLD.with(|(runtime, relay)| {
        let (answers, closed) = execute(runtime, relay.say(said));
        relay.check(said, &answers, closed);
        let secrets: Vec<&str> = relay.secrets.iter().map(String::as_str).collect();
        assert_untold("the log", &log::taken(), &secrets);
    });
});
