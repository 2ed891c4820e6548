//! The endpoint on real sockets, under a clock that the test moves, and a client that sends what it
//! is told byte for byte.
//!
//! tokio's time is paused: it jumps to the next timer as soon as nobody can go on. A held request
//! takes no real time, and a client that waits for what never comes finds out at once.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use credential_relay::audit::Audit;
use credential_relay::clock::{ManualClock, Moment, TimeSource, Timestamp};
use credential_relay::config;
use credential_relay::credential::{
    Credential, Lifetime, Principal, Propagation, Secret, Session, Validity,
};
use credential_relay::endpoint::{self, Directory, Keyring, Profile};
use credential_relay::failure::{Cause, Failure, Stage};
use credential_relay::listener::Io;
use credential_relay::metrics::Metrics;
use credential_relay::shutdown::{self, Trigger};
use credential_relay::store::{self, Publisher, Served};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// 2026-11-24T23:07:10Z.
pub(crate) const START: Timestamp = Timestamp::from_secs(1_795_561_630);

pub(crate) const SECRET_KEY: &str = "secret+key/of/the/contract+test";
pub(crate) const SESSION_TOKEN: &str = "session+token/of/the/contract+test=";
/// The access tokens, by the names that cases have for them.
pub(crate) const TOKENS: [(&str, &str); 4] = [
    ("payments", "access-token-of-payments-0001"),
    ("payments-new", "access-token-of-payments-0002"),
    ("reports", "access-token-of-reports-00001"),
    ("both", "access-token-of-two-profiles-1"),
];
/// What cases present as a wrong token: that must not be told either.
const WRONG_TOKEN: &str = "hunter2";

pub(crate) fn token(name: &str) -> &'static str {
    let found = TOKENS.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no token is called {name}")).1
}

/// Fails if a text has anything in it that must not be told.
pub(crate) fn assert_no_secret(text: &str, place: &str) {
    let secrets = TOKENS.map(|(_, token)| token);
    for secret in secrets.iter().chain(&[SECRET_KEY, SESSION_TOKEN, WRONG_TOKEN]) {
        assert!(!text.contains(secret), "{place} tells {secret}:\n{text}");
    }
}

/// A session of an hour that is issued now, as it is served.
pub(crate) fn served(now: Moment) -> Arc<Served> {
    Arc::new(Served::new(session(now, Duration::from_secs(3600)), now).unwrap())
}

/// A session of a role from `issued` on.
pub(crate) fn session(issued: Moment, lifetime: Duration) -> Credential {
    Credential {
        access_key_id: "ASIACONTRACTTEST0001".parse().unwrap(),
        secret_access_key: Secret::new(SECRET_KEY.to_owned()),
        session: Session::Token(Secret::new(SESSION_TOKEN.to_owned())),
        validity: Validity::Until(Lifetime::from_request(issued, lifetime, None)),
        principal: Principal::Role("arn:aws:iam::111122223333:role/hub".parse().unwrap()),
        propagation: Propagation::Done,
    }
}

pub(crate) fn failure(cause: Cause) -> Arc<Failure> {
    let (stage, reason) = match cause {
        Cause::Denied => (
            Stage::Hop { number: 1, role: "arn:aws:iam::111122223333:role/hub".to_owned() },
            "not authorized to perform sts:AssumeRole",
        ),
        Cause::Misconfigured => (Stage::Base("vault"), "role not found"),
        Cause::Throttled { .. } => (Stage::Base("vault"), "Rate exceeded"),
        _ => (Stage::Base("vault"), "connection refused"),
    };
    Arc::new(Failure::new(cause, stage, reason))
}

/// A running endpoint with the profiles payments, reports and ledger.
pub(crate) struct Relay {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) clock: ManualClock,
    /// The writing end of the profile payments.
    pub(crate) payments: Publisher,
    pub(crate) metrics: Metrics,
    pub(crate) directory: watch::Sender<Arc<Directory>>,
    pub(crate) trigger: Trigger,
    pub(crate) task: JoinHandle<()>,
    _others: [Publisher; 2],
}

impl Relay {
    /// Binds and starts. It must be called within a runtime whose time is paused.
    pub(crate) fn start(max_connections: usize) -> Self {
        let clock = ManualClock::starting_at(START);
        let metrics = Metrics::new();
        let profile = |name: &str, tokens: &[&str]| {
            let (publisher, reader) = store::channel(START);
            let tokens = tokens.iter().map(|name| token(name).parse().unwrap());
            let name = name.parse().unwrap();
            let keyring = Keyring { tokens: tokens.collect(), ..Keyring::default() };
            let profile = Profile::new(name, reader, keyring, &metrics);
            (publisher, Arc::new(profile))
        };
        let (payments, first) = profile("payments", &["payments", "payments-new"]);
        let (reports, second) = profile("reports", &["reports", "both"]);
        let (ledger, third) = profile("ledger", &["both"]);
        let (directory, served) =
            watch::channel(Arc::new(Directory::new(vec![first, second, third])));

        let bound = endpoint::bind(&config::Endpoint {
            listen: ([127, 0, 0, 1], 0).into(),
            hosts: vec!["fd00::1".to_owned(), "relay.internal".to_owned()],
            max_connections,
        })
        .unwrap();
        let addresses = bound.addresses();
        let (trigger, signal) = shutdown::channel();
        let task = tokio::spawn(bound.serve(served, clock.clock(), &metrics, Audit::Off, signal));
        Self {
            addresses,
            clock,
            payments,
            metrics,
            directory,
            trigger,
            task,
            _others: [reports, ledger],
        }
    }

    /// Publishes a credential for payments.
    pub(crate) fn publish(&self, credential: Credential) {
        let served = Served::new(credential, self.clock.now()).unwrap();
        self.payments.publish(Arc::new(served));
    }

    /// Publishes a session of an hour, issued now.
    pub(crate) fn publish_session(&self) {
        self.payments.publish(served(self.clock.now()));
    }

    pub(crate) fn report(&self, cause: Cause) {
        self.payments.report(failure(cause), self.clock.now());
    }

    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.addresses[0]).await
    }

    /// Whether the metrics have this line.
    pub(crate) fn assert_metric(&self, line: &str) {
        let text = self.metrics.render();
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub(crate) version: String,
    pub(crate) status: u16,
    /// By name in lower case; none stands twice.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// A connection of a client.
pub(crate) struct Client {
    stream: Box<dyn Io>,
    unread: Vec<u8>,
}

impl Client {
    pub(crate) fn over(stream: impl Io + 'static) -> Self {
        Self { stream: Box::new(stream), unread: Vec::new() }
    }

    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    /// Connects and sends before the endpoint, which runs on this thread, has its turn.
    pub(crate) fn connect_at_once(address: SocketAddr, bytes: &str) -> Self {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self::over(TcpStream::from_std(stream).unwrap())
    }

    /// Sends bytes. It fails the test if the other side has reset the connection.
    pub(crate) async fn send(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// Sends a good request for payments.
    pub(crate) async fn ask(&mut self) {
        self.send(&good_request()).await;
    }

    /// Says that nothing more is sent.
    pub(crate) async fn end_sending(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Reads one answer, or `None` if the connection was closed before it.
    pub(crate) async fn answer(&mut self, has_body: bool) -> Option<Answer> {
        let head_end = loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                break at + 4;
            }
            if !self.read_more().await {
                return None;
            }
        };
        let head: Vec<u8> = self.unread.drain(..head_end).collect();
        let mut answer = parse_head(std::str::from_utf8(&head).unwrap());
        let announced = answer.headers.get("content-length");
        let length = announced.filter(|_| has_body).map_or(0, |n| n.parse().unwrap());
        while self.unread.len() < length {
            assert!(self.read_more().await, "the body ended early: {answer:?}");
        }
        let body = self.unread.drain(..length).collect();
        answer.body = String::from_utf8(body).unwrap();
        Some(answer)
    }

    /// Waits for the other side to close; nothing may come before.
    pub(crate) async fn closed(&mut self) {
        assert!(!self.read_more().await, "{:?}", self.unread);
        assert_eq!(self.unread, b"", "bytes after the answer");
    }

    /// Reads what there is; false once the connection is closed. A reset fails the test: with it
    /// the client may lose an answer.
    async fn read_more(&mut self) -> bool {
        // All that the server does on its own ends within minutes of the paused time.
        let patience = Duration::from_secs(600);
        let read = tokio::time::timeout(patience, self.stream.read_buf(&mut self.unread)).await;
        read.expect("neither an answer nor an end came").unwrap() > 0
    }
}

/// A request for payments as an SDK sends it.
pub(crate) fn good_request() -> String {
    format!(
        "GET /v1/credentials/payments HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {}\r\n\r\n",
        token("payments")
    )
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|w| w == wanted)
}

fn parse_head(head: &str) -> Answer {
    let mut lines = head.trim_end().split("\r\n");
    let status_line = lines.next().unwrap();
    let mut parts = status_line.splitn(3, ' ');
    let version = parts.next().unwrap().to_owned();
    let status = parts.next().unwrap().parse().unwrap();
    let mut headers = BTreeMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        let before = headers.insert(name.to_ascii_lowercase(), value.to_owned());
        assert_eq!(before, None, "{name} stands twice in\n{head}");
    }
    Answer { version, status, headers, body: String::new() }
}

/// Everything that is logged on this thread, at the finest level.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Takes what this thread logs from now on until the guard is dropped.
    pub(crate) fn capture() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
