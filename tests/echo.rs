//! An upstream that sends back what it was sent, in every form that whoever stands there may choose: nothing that was secret is
//! told, neither by a failure nor in the log.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must end")]

use std::collections::HashSet;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, Once};

use credential_relay::app::assemble::Workshop;
use credential_relay::clock::{Clock, ManualClock, Timestamp};
use credential_relay::config::environment::Environment;
use credential_relay::config::load;
use credential_relay::metrics::Metrics;
use credential_relay::sources::Freshness;
use credential_relay::telemetry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tracing::Level;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Nothing but its text tells any of these for a secret.
const AGENTS: &str = r#"agents-token/of+a\machine"with<&%everything"#;
const ECS_ID: &str = "5f1e9c1a-2b3c-4d5e-8f90-a1b2c3d4e5f6";
const SERVICES: &str = "AQAEtokenOfTheMetadataService==";
const PASSWORD: &str = r#"pass"word\of<a>&person/with%everything"#;
const SECRET_ID: &str = "7e4b2d1a-secret-id-of-the-application";
const WRAPPING: &str = "s.wrappingTokenOfTheRelay01";
const LOGINS: &str = "s.clientTokenOfTheLogin0001";
const FILES: &str = "s.tokenOfTheFileOfAPerson01";
const OPAQUE: &str = "opaque-token-of-an-issuer-0001";
const JWT: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJwYXltZW50cyIsImV4cCI6MTgwMDAwMzYwMH0.c2lnbmF0dXJlLW9mLXRoZS1pc3N1ZXI";
const KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const SESSION: &str = "IQoJb3JpZ2luX2Vj/EXAMPLE+TOKEN==";

const SECRETS: [&str; 12] = [
    AGENTS, ECS_ID, SERVICES, PASSWORD, SECRET_ID, WRAPPING, LOGINS, FILES, OPAQUE, JWT, KEY,
    SESSION,
];

/// So many characters of a secret in a row must not be told.
const PART: usize = 12;

/// A profile, and which of its calls carry a secret.
type Case = (&'static str, Range<usize>);

const AGENTS_CASES: [Case; 2] = [
    (
        "source: { container: { uri: 'http://{upstream}/v2/credentials/{id}', token_file: '{folder}/agents' } }",
        0..1,
    ),
    ("source: { imds: { endpoint: 'http://{upstream}' } }", 1..3),
];
const STS_CASES: [Case; 2] = [
    ("source: { file: { path: '{folder}/session.json' } }, chain: [{ role_arn: '{role}' }]", 0..1),
    ("source: { web_identity: { role_arn: '{role}', token_file: '{folder}/jwt' } }", 0..1),
];
/// Of a profile over Vault, by its login.
const LOGINS_CASES: [Case; 7] = [
    ("kubernetes: { role: a, token_file: '{folder}/jwt' }", 0..2),
    ("jwt: { role: a, token_file: '{folder}/opaque' }", 0..2),
    ("userpass: { username: a, password_file: '{folder}/password' }", 0..2),
    ("approle: { role_id: a, secret_id_file: '{folder}/secret-id' }", 0..2),
    (
        "approle: { role_id: a, wrapped_secret_id: { file: '{folder}/wrapping', creation_path: made/at } }",
        0..4,
    ),
    ("token_file: { path: '{folder}/token' }", 0..2),
    ("aws: { role: a, source: { file: { path: '{folder}/session.json' } } }", 0..2),
];

/// An answer of the upstream, of what it was sent.
type Form = fn(&str) -> (&'static str, String);

const FORMS: [Form; 7] = [
    |sent| ("", sent.to_owned()),
    |sent| ("", format!("<html><pre>{}</pre>", html(sent))),
    |sent| ("", serde_json::json!({ "received": { "request": sent } }).to_string()[2..].to_owned()),
    |sent| {
        let said = serde_json::json!({ "Code": sent, "Message": sent, "code": sent, "message": sent, "errors": [sent, sent] });
        ("", said.to_string())
    },
    |sent| {
        let said = html(sent);
        (
            "",
            format!(
                "<ErrorResponse><Error><Code>AccessDenied</Code><Message>{said}</Message></Error></ErrorResponse>"
            ),
        )
    },
    |sent| ("http://elsewhere.example/", url(sent)),
    |sent| ("http://", url(sent)),
];

const STATUSES: [u16; 6] = [200, 302, 400, 401, 403, 503];

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn url(text: &str) -> String {
    let kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let spelled =
        |byte: u8| if kept(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(spelled).collect()
}

fn json(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', r#"\""#).replace('/', r"\/")
}

/// What the upstream does from some call on; before that it answers as it should.
#[derive(Clone, Copy)]
struct Script {
    calls_before: usize,
    status: u16,
    form: Form,
}

struct Upstream {
    address: SocketAddr,
    script: Arc<Mutex<(Script, usize)>>,
}

impl Upstream {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let nothing = Script { calls_before: 0, status: 500, form: FORMS[0] };
        let script = Arc::new(Mutex::new((nothing, 0)));
        let asked = Arc::clone(&script);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&asked)));
            }
        });
        Self { address, script }
    }

    /// Plays another script; gives how many calls there were during the last one.
    fn play(&self, script: Script) -> usize {
        std::mem::replace(&mut *self.script.lock().unwrap(), (script, 0)).1
    }
}

async fn serve(mut stream: TcpStream, script: Arc<Mutex<(Script, usize)>>) {
    let mut request = Vec::new();
    let (head, body) = loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = header(head, "content-length").map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                break (head.to_owned(), body.to_owned());
            }
        }
        if stream.read_buf(&mut request).await.unwrap() == 0 {
            return;
        }
    };
    let (Script { calls_before, status, form }, count) = {
        let mut script = script.lock().unwrap();
        script.1 += 1;
        *script
    };
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let answer = if count <= calls_before {
        let body = right(&path);
        format!(
            "HTTP/1.1 200 x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    } else {
        let (location, said) = form(&sent(&head, &body));
        let (header, body) = match location {
            "" => (String::new(), said),
            place => (format!("location: {place}{said}/{said}?{said}\r\n"), String::new()),
        };
        let length = body.len();
        format!(
            "HTTP/1.1 {status} x\r\n{header}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
    };
    stream.write_all(answer.as_bytes()).await.unwrap();
}

fn header<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value).next()
}

/// What may be secret of a request.
fn sent(head: &str, body: &str) -> String {
    let names =
        ["x-vault-token", "x-aws-ec2-metadata-token", "x-amz-security-token", "authorization"];
    let headers = names.iter().filter_map(|name| header(head, name));
    let id = head.split([' ', '/']).find(|part| *part == ECS_ID);
    headers.chain(id).chain([body]).filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ")
}

/// What an upstream should answer, so that the next call is made.
fn right(path: &str) -> String {
    let data = |data: serde_json::Value| serde_json::json!({ "data": data }).to_string();
    match path {
        "/latest/api/token" => SERVICES.to_owned(),
        "/latest/meta-data/iam/security-credentials/" => "app-role".to_owned(),
        "/v1/sys/wrapping/lookup" => data(serde_json::json!({ "creation_path": "made/at" })),
        "/v1/sys/wrapping/unwrap" => data(serde_json::json!({ "secret_id": SECRET_ID })),
        "/v1/auth/token/lookup-self" => data(serde_json::json!({ "ttl": 3600, "type": "service" })),
        login if login.contains("/login") => {
            serde_json::json!({ "auth": { "client_token": LOGINS, "lease_duration": 3600, "renewable": true, "token_type": "service" } })
                .to_string()
        }
        other => panic!("{other} has no right answer here"),
    }
}

/// All that is logged, by whatever thread: some sources work on others than their test's.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static KEPT: Once = Once::new();

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// As the relay logs, from now on.
fn keep_log() {
    KEPT.call_once(|| {
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| Log);
        let filtered = lines.with_filter(telemetry::own(Level::TRACE));
        tracing_subscriber::registry().with(filtered).init();
    });
}

/// What was logged since this was asked last, be it by another test: none may tell anything.
fn logged() -> String {
    String::from_utf8_lossy(&std::mem::take(&mut *LOG.lock().unwrap())).into_owned()
}

fn write_files(folder: &Path) {
    let keys = format!(
        r#"{{"Version":1,"AccessKeyId":"ASIAIOSFODNN7EXAMPLE","SecretAccessKey":"{KEY}","SessionToken":"{SESSION}"}}"#
    );
    for (name, text) in [
        ("agents", AGENTS.to_owned()),
        ("jwt", JWT.to_owned()),
        ("opaque", OPAQUE.to_owned()),
        ("password", PASSWORD.to_owned()),
        ("secret-id", SECRET_ID.to_owned()),
        ("wrapping", WRAPPING.to_owned()),
        ("token", FILES.to_owned()),
        ("session.json", keys),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

/// Parts of the secrets, and what finds them in a text however it is written there.
struct Parts(HashSet<&'static [u8]>);

impl Parts {
    fn new() -> Self {
        // The beginning of a JWT is the same everywhere.
        let secrets = SECRETS.map(|secret| if secret == JWT { &JWT[20..] } else { secret });
        Self(secrets.iter().flat_map(|secret| secret.as_bytes().windows(PART)).collect())
    }

    fn assert_untold(&self, what: &str, text: &str) {
        let once = [text.to_owned(), read(text, url), read(text, html), read(text, json)];
        let twice = once.iter().flat_map(|text| [url, html, json].map(|form| read(text, form)));
        for reading in once.iter().cloned().chain(twice) {
            let told = reading.as_bytes().windows(PART).find(|part| self.0.contains(part));
            let told = told.map(String::from_utf8_lossy);
            assert!(told.is_none(), "{what}: {told:?} is in {text}");
        }
    }
}

/// A text of which each character was written by `form`.
fn read(text: &str, form: fn(&str) -> String) -> String {
    let characters = (b' '..=b'~').map(char::from);
    let written: Vec<_> = characters.map(|c| (form(&c.to_string()), c)).collect();
    let mut reading = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['%', '&', '\\']) {
        reading.push_str(&rest[..at]);
        let found = written.iter().find(|(written, _)| rest[at..].starts_with(written.as_str()));
        let (c, length) = found.map_or(('?', 1), |(written, c)| (*c, written.len()));
        reading.push(c);
        rest = &rest[at + length..];
    }
    reading + rest
}

/// The failure of one fetch, printed in both ways.
async fn fetched(profile: &str, upstream: &Upstream, folder: &Path) -> String {
    let text = format!(
        "{{ sts: {{ region: us-east-1, endpoint: 'http://{{upstream}}' }}, vault: {{ address: 'http://{{upstream}}' }}, profiles: {{ p: {{ {profile} }} }} }}"
    )
    .replace("{upstream}", &upstream.address.to_string())
    .replace("{folder}", &folder.display().to_string())
    .replace("{id}", ECS_ID)
    .replace("{role}", "arn:aws:iam::111122223333:role/hub");
    let config = load::parse(&text, &Environment::default())
        .unwrap_or_else(|error| panic!("{error}\n{text}"));
    let clock: Clock = ManualClock::starting_at(Timestamp::from_secs(1_800_000_000)).clock();
    let mut workshop = Workshop::new(clock, Metrics::new(), &[]);
    let (name, settings) = config.profiles.first_key_value().unwrap();
    let mut source = workshop.source(name, settings).unwrap();
    match source.fetch(Freshness::Reuse).await {
        Err(failure) => format!("{failure} {failure:?}"),
        Ok(credential) => panic!("{text}: {credential:?}"),
    }
}

async fn nothing_is_told(cases: impl IntoIterator<Item = (String, Range<usize>)>) {
    keep_log();
    let (folder, parts) = (tempfile::tempdir().unwrap(), Parts::new());
    let upstream = Upstream::start().await;
    for (profile, calls) in cases {
        for calls_before in calls {
            let mut told = Vec::new();
            for (status, form) in
                STATUSES.iter().flat_map(|status| FORMS.map(|form| (*status, form)))
            {
                write_files(folder.path());
                let script = Script { calls_before, status, form };
                upstream.play(script);
                let failure = fetched(&profile, &upstream, folder.path()).await;
                let made = upstream.play(script);
                assert!(made > calls_before, "{profile}: {made} call(s) were made: {failure}");
                parts.assert_untold(&profile, &failure);
                let log = logged();
                parts.assert_untold(&profile, &log);
                // Whoever has it can send the request again, for as long as AWS takes it.
                for text in [&failure, &log] {
                    assert!(!text.contains("Signature="), "{profile}: {text}");
                }
                told.push(failure);
            }
            let came_back = told.iter().any(|failure| failure.contains("[redacted]"));
            assert!(came_back, "{profile}: {told:#?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_sends_back_what_it_was_sent() {
    nothing_is_told(AGENTS_CASES.map(|(profile, calls)| (profile.to_owned(), calls))).await;
}

#[tokio::test(start_paused = true)]
async fn an_sts_that_sends_back_what_it_was_sent() {
    nothing_is_told(STS_CASES.map(|(profile, calls)| (profile.to_owned(), calls))).await;
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_sends_back_what_it_was_sent() {
    let profile = |login| format!("source: {{ vault: {{ role: r, auth: {{ {login} }} }} }}");
    nothing_is_told(LOGINS_CASES.map(|(login, calls)| (profile(login), calls))).await;
}

/// AWS's own crate warns of a line that it does not understand, and quotes it.
#[cfg(feature = "host")]
#[tokio::test(start_paused = true)]
async fn a_shared_file_with_a_mistake_in_it() {
    keep_log();
    let (folder, parts) = (tempfile::tempdir().unwrap(), Parts::new());
    let upstream = Upstream::start().await;
    let keys = format!(
        "aws_access_key_id = ASIAIOSFODNN7EXAMPLE\naws_secret_access_key = {KEY}\naws_session_token = {OPAQUE}\n"
    );
    for section in ["[Profile old]", "[profiles old]", "[services a]", "[old]", "[profile old"] {
        std::fs::write(folder.path().join("config"), format!("{section}\n{keys}")).unwrap();
        std::fs::write(folder.path().join("credentials"), "").unwrap();
        let profile = "source: { profile: { name: default, config_file: '{folder}/config', credentials_file: '{folder}/credentials' } }";
        let failure = fetched(profile, &upstream, folder.path()).await;
        parts.assert_untold(section, &failure);
        parts.assert_untold(section, &logged());
    }
}
