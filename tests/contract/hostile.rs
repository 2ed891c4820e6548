//! Requests that mean to be read in two ways, and what is hardly a request: all listeners read them in one way,
//! and whoever does not show its own token gets nothing.
//!
//! Each row is a text that is sent on a connection of its own to each listener. `{ask}` stands for the first two
//! lines of a good request, `{key}` for the header that makes it good, if the listener wants one, and `{hidden}` for a
//! whole good request where none should be.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use credential_relay::admin::{self, Profile, Profiles, SocketFile};
use credential_relay::clock::ManualClock;
use credential_relay::config::{self, ImdsVersions};
use credential_relay::listener::LARGEST_HEAD;
use credential_relay::metrics::Metrics;
use credential_relay::shutdown::{self, Trigger};
use credential_relay::store;
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::harness::{Client, Relay, SECRET_KEY, SESSION_TOKEN, START, token};
use crate::imds::{Imds, ONE};

/// What is answered.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// What a good request gets.
    Good,
    /// What a good request without its token gets.
    NoKey,
    /// This status, whatever is asked.
    Is(u16),
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It is closed.
    Ends,
    /// It serves the next request.
    Stays,
    /// One or the other, by what was there of a body that nobody reads when the answer went out.
    Either,
}

use Answer::{Good, Is, NoKey};
use Then::{Either, Ends, Stays};

struct Row {
    what: &'static str,
    text: &'static str,
    answers: &'static [Answer],
    then: Then,
}

const fn row(
    what: &'static str,
    text: &'static str,
    answers: &'static [Answer],
    then: Then,
) -> Row {
    Row { what, text, answers, then }
}

/// Heads that are no heads. Each is followed by a good request, which is not one any more.
const MALFORMED: &[(&str, &str)] = &[
    ("two lengths", "{ask}\r\n{key}Content-Length: 0\r\nContent-Length: 5\r\n\r\n"),
    ("a list of lengths", "{ask}\r\n{key}Content-Length: 5, 5\r\n\r\n"),
    ("a length with a sign", "{ask}\r\n{key}Content-Length: +5\r\n\r\n"),
    ("a length below zero", "{ask}\r\n{key}Content-Length: -1\r\n\r\n"),
    ("a length in another base", "{ask}\r\n{key}Content-Length: 0x5\r\n\r\n"),
    ("a length in two words", "{ask}\r\n{key}Content-Length: 5 5\r\n\r\n"),
    ("an empty length", "{ask}\r\n{key}Content-Length:\r\n\r\n"),
    ("a length beyond 64 bits", "{ask}\r\n{key}Content-Length: 18446744073709551621\r\n\r\n"),
    ("a length in other digits", "{ask}\r\n{key}Content-Length: ٥\r\n\r\n"),
    ("chunks, then something", "{ask}\r\n{key}Transfer-Encoding: chunked, identity\r\n\r\n"),
    ("no chunks", "{ask}\r\n{key}Transfer-Encoding: identity\r\n\r\n"),
    ("almost chunks", "{ask}\r\n{key}Transfer-Encoding: xchunked\r\n\r\n"),
    ("chunks with a parameter", "{ask}\r\n{key}Transfer-Encoding: chunked;q=1\r\n\r\n"),
    ("chunks in quotes", "{ask}\r\n{key}Transfer-Encoding: \"chunked\"\r\n\r\n"),
    ("chunks and a comma", "{ask}\r\n{key}Transfer-Encoding: chunked,\r\n\r\n"),
    ("chunks behind a vertical tab", "{ask}\r\n{key}Transfer-Encoding: \x0bchunked\r\n\r\n"),
    ("chunks behind another blank", "{ask}\r\n{key}Transfer-Encoding: \u{a0}chunked\r\n\r\n"),
    (
        "chunks, then none",
        "{ask}\r\n{key}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
    ),
    (
        "a length and no chunks",
        "{ask}\r\n{key}Content-Length: 0\r\nTransfer-Encoding: identity\r\n\r\n",
    ),
    ("a blank before the colon", "{ask}\r\n{key}Transfer-Encoding : chunked\r\n\r\n"),
    ("a tab before the colon", "{ask}\r\n{key}Content-Length\t: 5\r\n\r\n"),
    ("a folded line", "{ask}\r\n{key}X-A: b\r\n Content-Length: 5\r\n\r\n"),
    ("a folded value", "{ask}\r\n{key}Transfer-Encoding:\r\n\tchunked\r\n\r\n"),
    ("a blank before the first header", "GET / HTTP/1.1\r\n Host: 127.0.0.1\r\n\r\n"),
    ("a header without a colon", "{ask}\r\n{key}Content-Length\r\n\r\n"),
    ("a header without a name", "{ask}\r\n{key}: 5\r\n\r\n"),
    ("a name in two words", "{ask}\r\n{key}Content Length: 5\r\n\r\n"),
    ("a name in brackets", "{ask}\r\n{key}(Content-Length): 5\r\n\r\n"),
    ("a name of other letters", "{ask}\r\n{key}Cöntent-Length: 5\r\n\r\n"),
    ("a NUL in a name", "{ask}\r\n{key}X\0: a\r\n\r\n"),
    ("a NUL in a value", "{ask}\r\n{key}X-A: a\0b\r\n\r\n"),
    ("a bell in a value", "{ask}\r\n{key}X-A: a\x07b\r\n\r\n"),
    ("a delete in a value", "{ask}\r\n{key}X-A: a\x7fb\r\n\r\n"),
    ("a bare CR in a value", "{ask}\r\n{key}X-A: a\rContent-Length: 5\r\n\r\n"),
    ("a bare CR before the end", "{ask}\r\n{key}X-A: a\r\r\n\r\n"),
    ("CRs for line ends", "GET / HTTP/1.1\rHost: 127.0.0.1\r\r"),
    ("a second version", "GET / HTTP/1.1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
    ("a version to come", "GET / HTTP/1.2\r\nHost: 127.0.0.1\r\n\r\n"),
    ("a version in small letters", "GET / http/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
    ("a version of two digits", "GET / HTTP/1.10\r\nHost: 127.0.0.1\r\n\r\n"),
    ("a target with a blank", "GET /v1/ credentials HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
    ("a target with a NUL", "GET /v1/\0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
    ("no target", "GET HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
    ("a target that is no path", "GET v1/credentials HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
    ("a method with a colon", "GE:T / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
    ("no method", " / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
    ("a greeting of TLS", "\x16\x03\x01\x02\0\x01\0\x01\u{7c}\x03\x03\r\n\r\n"),
    ("a document", "{\"Version\":1}\r\n\r\n"),
];

/// Heads that are understood, and bodies that nobody reads.
const UNDERSTOOD: &[Row] = &[
    // One length, or one that is said twice.
    row("a length", "{ask}\r\n{key}Content-Length: {n}\r\n\r\n{hidden}", &[Good], Stays),
    row(
        "one length twice",
        "{ask}\r\n{key}Content-Length: {n}\r\nContent-Length: {n}\r\n\r\n{hidden}",
        &[Good],
        Stays,
    ),
    row(
        "a length that no body has",
        "{ask}\r\n{key}Content-Length: 18446744073709551615\r\n\r\n{hidden}",
        &[Is(431)],
        Ends,
    ),
    row("a length of zeros", "{ask}\r\n{key}Content-Length: 000\r\n\r\n", &[Good], Stays),
    row("a length of nothing", "{ask}\r\nContent-Length: 0\r\n\r\n{hidden}", &[NoKey, Good], Stays),
    row("a body without a length", "{ask}\r\n\r\n{hidden}", &[NoKey, Good], Stays),
    row("a body that does not come", "{ask}\r\n{key}Content-Length: 500\r\n\r\nx", &[Good], Ends),
    row("another's request in it", "{ask}\r\nContent-Length: {n}\r\n\r\n{hidden}", &[NoKey], Stays),
    row(
        "a length in HTTP/1.0",
        "{ask10}\r\n{key}Content-Length: {n}\r\n\r\n{hidden}",
        &[Good],
        Ends,
    ),
    // Chunks.
    row(
        "chunks",
        "{ask}\r\nTransfer-Encoding: chunked\r\n\r\n{n16}\r\n{hidden}\r\n0\r\n\r\n",
        &[NoKey],
        Either,
    ),
    row(
        "chunks in capitals",
        "{ask}\r\ntRANSFER-eNCODING:\tCHUNKED \t\r\n\r\n{n16}\r\n{hidden}\r\n0\r\n\r\n",
        &[NoKey],
        Either,
    ),
    row(
        "chunks after something else",
        "{ask}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n{n16}\r\n{hidden}\r\n0\r\n\r\n",
        &[NoKey],
        Either,
    ),
    row(
        "a chunk with an extension",
        "{ask}\r\nTransfer-Encoding: chunked\r\n\r\n{n16};a=\"b\"\r\n{hidden}\r\n0\r\n\r\n",
        &[NoKey],
        Either,
    ),
    row(
        "a request behind the last chunk",
        "{ask}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
        &[NoKey, Good],
        Stays,
    ),
    row(
        "a key in the trailer",
        "{ask}\r\nTransfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n0\r\n{key}\r\n",
        &[NoKey],
        Stays,
    ),
    // Both: the chunks count, and nothing after them.
    row(
        "a length, then chunks",
        "{ask}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
        &[NoKey],
        Ends,
    ),
    row(
        "chunks, then a length",
        "{ask}\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{hidden}",
        &[NoKey],
        Ends,
    ),
    row(
        "chunks, then no length at all",
        "{ask}\r\nTransfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n0\r\n\r\n{hidden}",
        &[NoKey],
        Ends,
    ),
    // Chunks that are none: what follows is no request.
    row(
        "a chunk of another base",
        "{ask}\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n{hidden}",
        &[NoKey],
        Ends,
    ),
    row(
        "a chunk with a sign",
        "{ask}\r\nTransfer-Encoding: chunked\r\n\r\n+0\r\n\r\n{hidden}",
        &[NoKey],
        Ends,
    ),
    row(
        "a chunk below zero",
        "{ask}\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n{hidden}",
        &[NoKey],
        Ends,
    ),
    row(
        "a chunk without a size",
        "{ask}\r\nTransfer-Encoding: chunked\r\n\r\n\r\n0\r\n\r\n{hidden}",
        &[NoKey],
        Ends,
    ),
    row(
        "a chunk beyond 64 bits",
        "{ask}\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n{hidden}",
        &[NoKey],
        Ends,
    ),
    row(
        "a chunk that is longer than its size",
        "{ask}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n0\r\n\r\n{hidden}",
        &[NoKey],
        Ends,
    ),
    row(
        "a chunk with bare line feeds",
        "{ask}\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\n0\n\n{hidden}",
        &[NoKey],
        Ends,
    ),
    row(
        "an extension with a line feed",
        "{ask}\r\nTransfer-Encoding: chunked\r\n\r\n0;a\n\r\n\r\n{hidden}",
        &[NoKey],
        Ends,
    ),
    row(
        "a chunk that does not come",
        "{ask}\r\n{key}Transfer-Encoding: chunked\r\n\r\n1F4\r\nx",
        &[Good],
        Ends,
    ),
    // Other readings of a request.
    row("line feeds alone", "{ask-lf}\n\n", &[NoKey], Stays),
    row("empty lines before", "\r\n\r\n{ask}\r\n{key}\r\n", &[Good], Stays),
    row(
        "a body is promised",
        "{ask}\r\n{key}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        &[Good],
        Ends,
    ),
    row("another promise", "{ask}\r\n{key}Expect: 200-ok\r\n\r\n", &[Good], Stays),
    row(
        "a websocket",
        "{ask}\r\n{key}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        &[Good],
        Stays,
    ),
    row(
        "HTTP/2 instead",
        "{ask}\r\n{key}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        &[Good],
        Stays,
    ),
    row("HTTP/2 at once", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[], Ends),
    row(
        "a tunnel",
        "CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1:80\r\n{key}\r\n",
        &[Is(404)],
        Stays,
    ),
    row(
        "an authority",
        "GET 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1:80\r\n{key}\r\n",
        &[Is(404)],
        Stays,
    ),
    row("all of it", "GET * HTTP/1.1\r\nHost: 127.0.0.1\r\n{key}\r\n", &[Is(404)], Stays),
    row(
        "all of its options",
        "OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n{key}\r\n",
        &[Is(404)],
        Stays,
    ),
    row(
        "a key in the target",
        "GET /{key-value} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        &[Is(404)],
        Stays,
    ),
    // Many at once: each is judged by its own token.
    row("the first has a key", "{ask}\r\n{key}\r\n{ask}\r\n\r\n", &[Good, NoKey], Stays),
    row(
        "the second has a key",
        "{ask}\r\n\r\n{ask}\r\n{key}\r\n{ask}\r\n\r\n",
        &[NoKey, Good, NoKey],
        Stays,
    ),
    row(
        "a good one, then none",
        "{ask}\r\n{key}\r\nnonsense\r\n\r\n{hidden}",
        &[Good, Is(400)],
        Ends,
    ),
    row("the last one", "{ask}\r\n{key}Connection: close\r\n\r\n{hidden}", &[Good], Ends),
    row(
        "the last one, said twice",
        "{ask}\r\n{key}Connection: close\r\nConnection: keep-alive\r\n\r\n{hidden}",
        &[Good],
        Ends,
    ),
];

/// A listener, and what its requests look like.
struct Target {
    name: &'static str,
    place: Place,
    path: String,
    /// A whole line, or nothing.
    key: String,
    without_key: u16,
}

enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Target {
    async fn connect(&self) -> Client {
        match &self.place {
            Place::Tcp(address) => Client::connect(*address).await,
            Place::Unix(path) => Client::over(UnixStream::connect(path).await.unwrap()),
        }
    }

    fn render(&self, text: &str) -> String {
        let ask = format!("GET {} HTTP/1.1\r\nHost: 127.0.0.1", self.path);
        let hidden = format!("{ask}\r\n{}\r\n", self.key);
        let key = self.key.trim_end();
        text.replace("{n}", &hidden.len().to_string())
            .replace("{n16}", &format!("{:x}", hidden.len()))
            .replace("{hidden}", &hidden)
            .replace("{ask10}", &ask.replace("HTTP/1.1", "HTTP/1.0"))
            .replace("{ask-lf}", &ask.replace('\r', ""))
            .replace("{ask}", &ask)
            .replace("{key-value}", key.split_once(": ").map_or("none", |(_, value)| value))
            .replace("{key}", &self.key)
    }

    /// Sends a text and asserts what comes of it.
    async fn assert(&self, text: &str, answers: &[Answer], then: Then) {
        let mut client = self.connect().await;
        client.send(&self.render(text)).await;
        for expected in answers {
            let answer = client.answer(true).await.expect("closed without an answer");
            let status = match expected {
                Good => 200,
                NoKey => self.without_key,
                Is(status) => *status,
            };
            assert_eq!(answer.status, status, "{answer:?}");
            let tells = [SECRET_KEY, SESSION_TOKEN].iter().any(|it| answer.body.contains(it));
            assert!(!tells || matches!(expected, Good), "{answer:?}");
        }
        if then == Ends {
            client.closed().await;
            return;
        }
        // Were something left of the text, it would be answered before this or spoil it.
        client.send(&format!("GET /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\n{}\r\n", self.key)).await;
        match client.answer(true).await {
            Some(next) => assert_eq!(next.status, 404, "{next:?}"),
            None => assert_eq!(then, Either, "closed after the answers"),
        }
    }
}

/// All listeners, and what keeps them running.
struct World {
    targets: [Arc<Target>; 4],
    _running: (Relay, Imds, Trigger, SocketFile, tempfile::TempDir),
}

impl World {
    async fn start() -> Self {
        let relay = Relay::start(8);
        relay.publish_session();
        let imds = Imds::start(ImdsVersions::V2);
        imds.publish();
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let config = config::Admin { listen: ([127, 0, 0, 1], 0).into(), socket: socket.clone() };
        let (bound, file) = admin::bind(&config).unwrap();
        let admin = bound.address();
        let (_, reader) = store::channel(START);
        let profiles: Profiles =
            [("payments".parse().unwrap(), Profile::new(reader.into(), "file".to_owned()))].into();
        let (trigger, signal) = shutdown::channel();
        let seen = admin::Seen {
            profiles: watch::Sender::new(Arc::new(profiles)).subscribe(),
            configuration: watch::Sender::new(admin::Configuration::InUse).subscribe(),
            endpoint: relay.addresses.clone(),
        };
        let clock = ManualClock::starting_at(START).clock();
        tokio::spawn(bound.serve(seen, clock, Metrics::new(), signal));
        let target = |name, place, path: &str, key, without_key| {
            let path = path.to_owned();
            Target { name, place, path, key, without_key }
        };
        let key = format!("Authorization: {}\r\n", token("payments"));
        let targets = [
            target(
                "the endpoint",
                Place::Tcp(relay.addresses[0]),
                "/v1/credentials/payments",
                key,
                401,
            ),
            target("the metadata service", Place::Tcp(imds.address), ONE, imds.token().await, 401),
            target("the admin port", Place::Tcp(admin), "/livez", String::new(), 200),
            target("the admin socket", Place::Unix(socket), "/status", String::new(), 200),
        ];
        let targets = targets.map(Arc::new);
        Self { targets, _running: (relay, imds, trigger, file, folder) }
    }
}

/// Sends each text to each listener, and fails with all that do not hold.
async fn assert_all(rows: impl IntoIterator<Item = (&'static str, String, Vec<Answer>, Then)>) {
    let world = World::start().await;
    let rows: Vec<_> = rows.into_iter().collect();
    let mut failed = Vec::new();
    for target in &world.targets {
        for (what, text, answers, then) in rows.clone() {
            let target = Arc::clone(target);
            let name = target.name;
            let held =
                tokio::spawn(async move { target.assert(&text, &answers, then).await }).await;
            if held.is_err() {
                println!("^^ {name}: {what}");
                failed.push((name, what));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_malformed_is_answered_400_and_nothing_after_it() {
    let row = |(what, text): &(_, &str)| (*what, format!("{text}{{hidden}}"), vec![Is(400)], Ends);
    assert_all(MALFORMED.iter().map(row)).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_understood_is_read_in_one_way() {
    let row = |row: &Row| (row.what, row.text.to_owned(), row.answers.to_vec(), row.then);
    assert_all(UNDERSTOOD.iter().map(row)).await;
}

/// In pieces of any size, or in its target.
#[tokio::test(start_paused = true)]
async fn a_head_may_be_as_large_as_it_may_and_no_byte_larger() {
    let world = World::start().await;
    for target in &world.targets {
        for text in ["{ask}\r\n{key}X-Large: {pad}\r\n\r\n", "GET /{pad} HTTP/1.1\r\n{key}\r\n"] {
            for (more, piece) in [0, 1].into_iter().flat_map(|more| PIECES.map(|it| (more, it))) {
                let head = target.render(text);
                let pad = LARGEST_HEAD + more + "{pad}".len() - head.len();
                let head = head.replace("{pad}", &"x".repeat(pad));
                println!("{}: {text:?} and {more} in pieces of {piece}", target.name);
                let mut client = target.connect().await;
                for piece in head.as_bytes().chunks(piece) {
                    client.send(str::from_utf8(piece).unwrap()).await;
                    tokio::task::yield_now().await;
                }
                let answer = client.answer(true).await.expect("closed without an answer");
                assert_eq!(answer.status == 431, more == 1, "{answer:?}");
            }
        }
    }
}

/// Of bytes. hyper reads 8 KiB at first, and more each time.
const PIECES: [usize; 6] = [1000, 4096, 8191, 8192, 16_383, 100_000];
