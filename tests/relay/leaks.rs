//! Whatever the relay says while all goes wrong that can, none of it holds a part of a secret.
//!
//! The tests know every secret: what the upstream handed out, the base's keys, the access tokens
//! and what strangers present in their place.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use credential_relay::admin;
use credential_relay::credential::{Credential, Session};
use credential_relay::dev::sts::{Fault, FaultKind, IssuedLifetime};
use credential_relay::endpoint::{Keyring, access};
use credential_relay::sources::Freshness;
use credential_relay::store::{self, Served};
use credential_relay::telemetry;
use futures_util::future::join_all;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

use crate::common::{HUB, SPOKE, USER_KEY, USER_SECRET, World, parse, two_hops};
use crate::harness::{
    Answer, DEADLINE, Place, Program, Relay, ask, ask_socket, eventually, exchange, request, run,
    token, write_config,
};
use crate::search::Secrets;

/// A secret that signs nothing: the base's, after somebody mistyped it.
const WRONG_SECRET: &str = "jWalrXUtnFEMI/K7MDENG/bPxRfiCZYEKELPMAXE";
/// What a stranger presents.
const WRONG_TOKEN: &str = "token-of-another-relay-that-leaked-here";

/// Sessions are renewed while the tests look, and the mistyped one is not over before it was shown.
const SESSION: Duration = Duration::from_secs(15);

const PROFILES: [&str; 4] = ["payments", "denied", "mistyped", "broken"];

/// The texts that were heard, each with its origin.
#[derive(Default)]
struct Heard(Vec<(String, String)>);

impl Heard {
    fn note(&mut self, origin: impl Into<String>, text: impl Into<String>) {
        self.0.push((origin.into(), text.into()));
    }

    /// An answer, but for the body of one that is a credential.
    fn answer(&mut self, origin: impl Into<String>, answer: &Answer) {
        let origin = origin.into();
        let is_credential = answer.status == 200 && answer.body.contains("SecretAccessKey");
        self.note(origin.clone(), answer.head.clone());
        if !is_credential {
            self.note(origin, answer.body.clone());
        }
    }
}

/// Everything that must not be told.
fn secrets(world: &World) -> Secrets {
    // A fault may have cut an answer within a secret.
    let issued = world.issued.all().into_iter().filter(|secret| secret.len() >= 16);
    let tokens = PROFILES.map(|profile| token(world, profile));
    let others = [USER_SECRET, WRONG_SECRET, WRONG_TOKEN].map(str::to_owned);
    Secrets::new(issued.chain(tokens).chain(others))
}

/// A session of the hub, fetched as a chain does.
async fn session(world: &World) -> Credential {
    let one_hop = format!("[{{ role_arn: '{HUB}', session_name: hub }}]");
    world.source(&one_hop).fetch(Freshness::Reuse).await.unwrap()
}

/// Writes a base with a session of now whose secret was mistyped.
async fn mistype(world: &World) {
    let session = session(world).await;
    let Session::Token(session_token) = &session.session else { panic!("no session") };
    let mistyped = serde_json::json!({
        "Version": 1,
        "AccessKeyId": session.access_key_id.as_str(),
        "SecretAccessKey": WRONG_SECRET,
        "SessionToken": session_token.expose(),
    });
    fs::write(world.path("mistyped.json"), mistyped.to_string()).unwrap();
}

/// A profile for each way to fail: a denial, a session whose secret was mistyped (so that STS quotes
/// its token), and a base that is no document but a secret.
async fn configuration(world: &World) -> String {
    let denied = two_hops().replace("open-sesame", "open-barley");
    let right = two_hops();
    let text = world.text(&[
        ("payments", &right),
        ("denied", &denied),
        ("mistyped", &format!("[{{ role_arn: '{SPOKE}', external_id: open-sesame }}]")),
        ("broken", &right),
    ]);
    mistype(world).await;
    fs::write(world.path("broken.json"), USER_SECRET).unwrap();
    let with_base = |text: String, profile: &str| {
        let start = format!("{profile}: {{ source: {{ file: {{ path: ");
        let base = world.path("base.json").display().to_string();
        let own = world.path(&format!("{profile}.json")).display().to_string();
        assert!(text.contains(&format!("{start}{base}")));
        text.replace(&format!("{start}{base}"), &format!("{start}{own}"))
    };
    with_base(with_base(text, "mistyped"), "broken")
}

/// Asks all that may be asked, rightly and wrongly.
async fn ask_all(world: &World, place: &Place, heard: &mut Heard) {
    let credentials = PROFILES.map(|profile| place.credential(world, profile));
    // Those that have nothing are held, all at once.
    for (profile, answer) in PROFILES.iter().zip(join_all(credentials).await) {
        heard.answer(*profile, &answer);
    }
    for path in ["/livez", "/readyz", "/startupz", "/metrics"] {
        heard.answer(path, &place.probe(path).await);
    }
    let status = ask_socket(&place.socket, "GET", "/status").await.unwrap();
    heard.answer("/status", &status);
}

/// Every request that is refused, with secrets wherever a client can put them.
async fn ask_wrongly(world: &World, place: &Place, heard: &mut Heard) {
    let own = token(world, "payments");
    let path = "/v1/credentials/payments";
    let bearer = format!("Bearer {own}x");
    let basic = format!("Basic {own}");
    let in_query = format!("{path}?token={own}");
    let as_profile = format!("/v1/credentials/{own}");
    let as_path = format!("/{own}");
    let (other, long) = (token(world, "denied"), "x".repeat(20_000));
    for (method, path, headers) in [
        ("GET", path, &[][..]),
        ("GET", path, &[("Authorization", WRONG_TOKEN)]),
        ("GET", path, &[("Authorization", &own[1..])]),
        ("GET", path, &[("Authorization", &other)]),
        ("GET", path, &[("Authorization", &bearer)]),
        ("GET", path, &[("Authorization", &basic)]),
        ("GET", &in_query, &[]),
        ("GET", &as_profile, &[("Authorization", &own)]),
        ("GET", &as_path, &[("Authorization", &own)]),
        ("POST", path, &[("Authorization", &own)]),
        ("GET", path, &[("Authorization", &own), ("Host", &own)]),
        ("GET", path, &[("Authorization", &own), ("X-Forwarded-For", &own)]),
        ("GET", path, &[("Authorization", &own), ("Via", "1.1 proxy")]),
        ("GET", path, &[("Authorization", &own), ("X-Long", &long)]),
    ] {
        let answer = ask(place.endpoint, method, path, headers).await;
        assert_ne!(answer.status, 200, "{method} {path}");
        heard.answer("a refused request", &answer);
        let answer = ask(place.admin, method, path, headers).await;
        assert_ne!(answer.status, 200, "{method} {path}");
        heard.answer("a request to the admin port", &answer);
    }
    for text in [
        format!("GET {path} HTTP/1.1\r\nAuthorization {own}\r\n\r\n"),
        format!("GET {own} HTTP/1.1\r\n\r\n"),
        format!("{own} / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        format!("GET {path} HTTP/{own}\r\n\r\n"),
        own.clone(),
    ] {
        for address in [place.endpoint, place.admin] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let mut said = Vec::new();
            // Nothing more comes, so it need not wait for the rest. A refusal may end in a reset.
            let asked = async {
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut said).await;
            };
            let ended = tokio::time::timeout(DEADLINE, asked).await;
            assert!(ended.is_ok(), "the connection is not closed");
            heard.note("a malformed request", String::from_utf8(said).unwrap());
        }
    }
    for path in [&format!("/rotate/{own}"), "/rotate/nobody", &as_path] {
        let answer = ask_socket(&place.socket, "POST", path).await.unwrap();
        heard.answer("a request to the socket", &answer);
    }
}

/// What the admin listeners have, and what they have not.
const ADMIN_PATHS: [&str; 20] = [
    "/",
    "*",
    "/livez",
    "/readyz",
    "/readyz?verbose",
    "/startupz",
    "/metrics",
    "/metrics?name%5B%5D=credential_relay_requests_total",
    "/status",
    "/status?secrets=true",
    "/status/payments",
    "/rotate",
    "/rotate/",
    "/rotate/payments",
    "/rotate/nobody",
    "/rotate/..%2fstatus",
    "/v1/credentials",
    "/v1/credentials/payments",
    "/latest/meta-data/iam/security-credentials/payments",
    "http://localhost/v1/credentials/payments",
];

/// Asks both admin listeners in every way. Whatever comes back is searched whole: no answer of theirs may be a
/// credential.
async fn ask_admin(world: &World, place: &Place, heard: &mut Heard) {
    let own = token(world, "payments");
    let headers = [
        &[][..],
        &[("Authorization", own.as_str()), ("X-aws-ec2-metadata-token", &own), ("Cookie", &own)],
        &[("X-HTTP-Method-Override", "GET"), ("X-Original-URL", "/status"), ("Accept", "*/*")],
        &[("Range", "bytes=0-"), ("TE", "trailers"), ("Host", own.as_str())],
    ];
    // Most answers are alike.
    let mut answers = HashMap::new();
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "X"]
    {
        for path in ADMIN_PATHS {
            for headers in headers {
                let text = request(method, path, headers);
                let stream = TcpStream::connect(place.admin).await.unwrap();
                let answer = exchange(stream, &text).await.unwrap();
                answers.entry(format!("{answer:?}")).or_insert(format!("the admin port to {text}"));
                // That is what the socket is for, and takes its time.
                if (method, path) == ("POST", "/rotate/payments") {
                    assert_eq!(answer.status, 404, "{answer:?}");
                    continue;
                }
                let stream = UnixStream::connect(&place.socket).await.unwrap();
                let answer = exchange(stream, &text).await.unwrap();
                answers
                    .entry(format!("{answer:?}"))
                    .or_insert(format!("the admin socket to {text}"));
            }
        }
    }
    for (answer, origin) in answers {
        heard.note(origin, answer);
    }
}

/// Lets everything go wrong, one after the other, and asks meanwhile.
async fn drive(world: &World, place: &Place, heard: &mut Heard) {
    place.answers(world, "payments", 200).await;
    place.answers(world, "denied", 403).await;
    for said in ["SignatureDoesNotMatch", "broken.json"] {
        eventually(said, async || place.probe("/readyz").await.body.contains(said).then_some(()))
            .await;
    }
    ask_wrongly(world, place, heard).await;
    ask_admin(world, place, heard).await;
    for fault in [
        Fault::every(FaultKind::Latency(Duration::from_millis(50))),
        Fault::next(FaultKind::Hang, 1),
        Fault::every(FaultKind::Close),
        Fault::every(FaultKind::Outage),
        Fault::every(FaultKind::Throttle),
        Fault::every(FaultKind::AccessDenied),
        Fault::every(FaultKind::ExpiredToken),
        Fault::every(FaultKind::Garbage),
        Fault::every(FaultKind::Truncated),
        Fault::every(FaultKind::PastExpiration),
        Fault::every(FaultKind::NoExpiration),
        Fault::every(FaultKind::Huge),
    ] {
        world.sts.faults().set(vec![fault]);
        let (rotated, ()) = tokio::join!(place.rotate("payments"), ask_all(world, place, heard));
        heard.answer("/rotate", &rotated);
        let credential = place.credential(world, "payments").await;
        heard.answer(fault.kind.as_str(), &credential);
    }
    world.sts.faults().set(Vec::new());
    world.write_base(USER_KEY, WRONG_SECRET, None);
    let rotated = place.rotate("payments").await;
    assert!(rotated.body.contains("SignatureDoesNotMatch"), "{rotated:?}");
    heard.answer("/rotate", &rotated);
    ask_admin(world, place, heard).await;
    world.write_base(USER_KEY, USER_SECRET, None);
    for profile in PROFILES {
        heard.answer("/rotate", &place.rotate(profile).await);
    }
    let before = world.assumed().len();
    eventually("a rotation by itself", async || (world.assumed().len() > before).then_some(()))
        .await;
    ask_all(world, place, heard).await;
}

/// Where a log goes.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(sink: &Sink) -> impl Layer<S> + use<S> {
    let sink = sink.clone();
    tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_span_events(FmtSpan::FULL)
        .with_writer(move || sink.clone())
}

/// What is logged in this process from now on: what the relay's own settings let through at level
/// trace, and all that any crate says. A subscriber of one thread alone would miss what another
/// thread has found to interest nobody.
fn listen() -> (Sink, Sink) {
    let (let_through, all) = (Sink::default(), Sink::default());
    let as_the_relay = telemetry::own(Level::TRACE);
    let subscriber = tracing_subscriber::registry()
        .with(layer(&let_through).with_filter(as_the_relay))
        .with(layer(&all).with_filter(LevelFilter::TRACE));
    tracing::subscriber::set_global_default(subscriber).unwrap();
    (let_through, all)
}

#[tokio::test]
async fn in_process_at_trace() {
    let (let_through, all) = listen();
    let world = World::live(IssuedLifetime::AtMost(SESSION)).await;
    let config = parse(&configuration(&world).await);
    let relay = Relay::start(&config);
    let mut heard = Heard::default();
    drive(&world, &relay.place, &mut heard).await;
    relay.stop().await;
    let (let_through, all) = (let_through.text(), all.text());
    for part in
        ["rotated", "refresh failed", "SignatureDoesNotMatch", "refused for its access token"]
    {
        assert!(let_through.contains(part), "{part} is not in\n{let_through}");
    }
    heard.note("the log", let_through);
    heard.note("config", format!("{config:?} {config:#?}"));
    let secrets = secrets(&world);
    secrets.assert_untold(&heard.0);
    // The SDK prints STS's answer whole, and SignatureDoesNotMatch quotes a token: it is the filter
    // that keeps it out of the log.
    assert!(all.contains("aws_"), "the SDK is heard");
    assert!(secrets.found_in(&all).is_some(), "the search finds what the filter keeps out");
}

#[tokio::test]
async fn in_the_program_at_trace() {
    let world = World::live(IssuedLifetime::AtMost(SESSION)).await;
    let text = configuration(&world).await;
    let config = write_config(&world, &text);
    let mut relay = Program::serve(&world, &text, &["--drain", "0"]);
    let place = relay.place(&world.path("admin.sock")).await;
    let mut heard = Heard::default();
    drive(&world, &place, &mut heard).await;

    let command = async |arguments: &[&str], heard: &mut Heard| {
        let arguments = [arguments, &["--config", config.to_str().unwrap()]].concat();
        let left = run(&arguments, &[("CREDENTIAL_RELAY_LOG", "trace")]).await;
        let origin = arguments.join(" ");
        let is_credential = arguments[0] == "get" && left.code == Some(0);
        if !is_credential {
            heard.note(&origin, left.out);
        }
        heard.note(origin, left.err);
    };
    let commands: &[&[&str]] = &[
        &["check"],
        &["check", "--connect"],
        &["status"],
        &["status", "--json"],
        &["healthcheck"],
        &["healthcheck", "--probe", "live"],
        &["rotate", "payments"],
        &["rotate", "denied"],
        &["rotate", "mistyped"],
        &["get", "payments"],
        &["get", "denied"],
        &["get", "mistyped"],
        &["get", "broken"],
        &["get", "nobody"],
    ];
    mistype(&world).await;
    for arguments in commands {
        command(arguments, &mut heard).await;
    }
    relay.signal(Signal::TERM);
    let left = relay.ended().await;
    assert_eq!(left.code, Some(0), "{left:?}");
    for part in
        ["rotated", "refresh failed", "SignatureDoesNotMatch", "refused for its access token"]
    {
        assert!(left.err.contains(part), "{part} is not in\n{}", left.err);
    }
    heard.note("the program's log", left.err);
    heard.note("the program's output", left.out);
    // Now they fetch themselves.
    mistype(&world).await;
    for arguments in commands {
        command(arguments, &mut heard).await;
    }
    world.sts.faults().set(vec![Fault::every(FaultKind::ExpiredToken)]);
    command(&["check", "--connect"], &mut heard).await;
    secrets(&world).assert_untold(&heard.0);
}

#[tokio::test]
async fn in_debug_prints() {
    let world = World::start(IssuedLifetime::AsAsked).await;
    let credential = session(&world).await;
    let access_token = access::load_or_create(&world.token_file("payments")).unwrap().0;
    let clock = world.clock.clone();
    let served = Arc::new(Served::new(credential.clone(), clock.now()).unwrap());
    let (publisher, reader) = store::channel(clock.now().wall);
    publisher.publish(Arc::clone(&served));
    let snapshot = reader.borrow().clone();
    let profile = credential_relay::endpoint::Profile::new(
        "payments".parse().unwrap(),
        reader.clone(),
        Keyring { tokens: vec![access_token.clone()], digests: vec![access_token.digest()] },
        &world.metrics,
    );
    let seen = admin::Profile::new(reader.clone().into(), "file".to_owned());
    let profiles: admin::Profiles = [("payments".parse().unwrap(), seen)].into();
    let seen = admin::Seen {
        profiles: watch::Sender::new(Arc::new(profiles)).subscribe(),
        configuration: watch::Sender::new(admin::Configuration::InUse).subscribe(),
        endpoint: vec![world.address],
    };
    let status = admin::status::Status::of(&seen, world.address, clock.now());
    let directory = credential_relay::endpoint::Directory::new(vec![Arc::new(profile)]);
    let config = world.config(&two_hops());
    let texts = [
        ("a credential", format!("{credential:?} {credential:#?}")),
        ("an access token", format!("{access_token:?}")),
        ("what is served", format!("{served:?} {served:#?}")),
        ("a snapshot", format!("{snapshot:?} {:?}", snapshot.view(clock.now()))),
        ("the store", format!("{publisher:?} {reader:?}")),
        ("the directory", format!("{directory:?}")),
        ("the status", format!("{status:?} {seen:?}")),
        ("the configuration", format!("{config:?}")),
        ("the upstream", format!("{:?}", world.sts)),
        ("the metrics", world.metrics.render()),
    ];
    let token = fs::read_to_string(world.token_file("payments")).unwrap();
    let secrets =
        Secrets::new(world.issued.all().into_iter().chain([USER_SECRET.to_owned(), token]));
    secrets.assert_untold(&texts.map(|(origin, text)| (origin.to_owned(), text)));
    let body = String::from_utf8(served.body().to_vec()).unwrap();
    assert!(secrets.found_in(&body).is_some(), "the answer itself is what holds them");
}
