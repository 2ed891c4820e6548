//! The injector as an operator and the API server meet it: what its configuration reports, what its
//! reference says, and what it answers over HTTP.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "documents/mod.rs"]
mod documents;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use credential_relay::app::injector;
use credential_relay::clock::{Clock, Timestamp};
use credential_relay::config::environment::Environment;
use credential_relay::config::injector::{Certificates, Injector, SCHEMA, parse, schema_of_types};
use credential_relay::injector::admin::Admin;
use credential_relay::injector::certificates::Status;
use credential_relay::injector::{ANNOTATIONS, Metrics};
use credential_relay::listener::{self, Limits};
use credential_relay::shutdown;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName};

use documents::{examples, reports_are_golden, rows, schema_is_of_types, settings};

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Each case is a file `<name>.yaml` with the report that is expected in `<name>.txt`. With
/// UPDATE_GOLDEN set the reports are written anew.
#[test]
fn every_bad_configuration_is_reported_as_expected() {
    let folder = project().join("tests/injector_config_cases");
    reports_are_golden(&folder, 8, |case| {
        match parse(&fs::read_to_string(case.with_extension("yaml")).unwrap()) {
            Ok(injector) => format!("accepted\n{}\n", injector.warnings.join("\n")),
            Err(mistakes) => format!("{mistakes}\n"),
        }
    });
}

/// Written as in the relay's own file, and so described there alone.
const DESCRIBED_ELSEWHERE: [&str; 7] = [
    "relay.endpoint",
    "relay.admin",
    "relay.audit",
    "relay.sts",
    "relay.vault",
    "inline.source",
    "profiles.<name>",
];

fn reference() -> String {
    fs::read_to_string(project().join("docs/kubernetes.md")).unwrap()
}

#[test]
fn the_reference_lists_every_setting_and_every_annotation() {
    let mut wanted = settings(&schema_of_types(), &DESCRIBED_ELSEWHERE);
    wanted.extend(ANNOTATIONS.map(str::to_owned));
    assert_eq!(rows(&reference()), wanted);
}

#[test]
fn every_example_is_accepted() {
    let examples = examples(&reference(), "sidecar:");
    assert_eq!(examples.len(), 2);
    for (number, example) in examples.iter().enumerate() {
        if let Err(mistakes) = parse(example) {
            panic!("docs/kubernetes.md, example {}: {mistakes}", number + 1);
        }
    }
}

#[test]
fn the_schema_is_kept_as_the_types_have_it() {
    schema_is_of_types(
        &project().join("relay/config/injector/injector.schema.json"),
        SCHEMA,
        &schema_of_types(),
    );
}

#[test]
fn the_schema_is_closed_and_described_everywhere() {
    let schema = schema_of_types();
    let definitions = schema["$defs"].as_object().unwrap();
    let root = ("root".to_owned(), schema.clone());
    let all = definitions.iter().chain([(&root.0, &root.1)]);
    for (name, object) in all.filter(|(_, schema)| schema["type"] == "object") {
        assert_eq!(object["additionalProperties"], false, "{name}");
        let properties = object.get("properties").and_then(|p| p.as_object());
        for (key, property) in properties.into_iter().flatten() {
            assert!(property.get("description").is_some(), "{name}.{key}");
        }
    }
}

#[test]
fn a_file_that_is_cut_off_is_refused_or_read_but_never_fatal() {
    let text = &examples(&reference(), "sidecar:")[1];
    for (end, _) in text.char_indices().step_by(3) {
        let _ = parse(&text[..end]);
    }
}

/// An injector that runs.
struct Running {
    webhook: SocketAddr,
    admin: SocketAddr,
    tls: TlsConnector,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
    _files: TempDir,
}

fn some_settings() -> Injector {
    let text = fs::read_to_string(project().join("tests/inject_cases/injector.yaml")).unwrap();
    let any = "listen: 127.0.0.1:0\nadmin: { listen: '127.0.0.1:0' }\n";
    parse(&format!("{any}{text}")).unwrap()
}

/// A certificate in files of the folder, and who trusts it.
fn certificate(folder: &Path) -> (Certificates, TlsConnector) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let (cert, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.key_pair.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Certificates::Files { cert, key }, TlsConnector::from(Arc::new(client)))
}

const NAME: &str = "credential-relay-injector.credential-relay.svc";

impl Running {
    fn start() -> Self {
        let files = TempDir::new().unwrap();
        let (certificates, tls) = certificate(files.path());
        let settings = Injector { certificates, ..some_settings() };
        let app = injector::build(settings, &Environment::default(), Clock::system()).unwrap();
        let injector::Addresses { webhook, admin } = app.addresses();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let stop = async { stopped.await.unwrap_or(()) };
            app.run(stop, std::future::pending(), Duration::ZERO).await;
        });
        Self { webhook, admin, tls, stop, task, _files: files }
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        connect(self.webhook, &self.tls).await
    }

    async fn webhook(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        say(self.connect().await, method, path, body).await
    }

    async fn review(&self, body: &str) -> (u16, String) {
        self.webhook("POST", "/mutate", body).await
    }
}

async fn connect(webhook: SocketAddr, tls: &TlsConnector) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(webhook).await.unwrap();
    tls.connect(ServerName::try_from(NAME).unwrap(), stream).await.unwrap()
}

async fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    say(TcpStream::connect(address).await.unwrap(), method, path, "").await
}

async fn say(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    path: &str,
    body: &str,
) -> (u16, String) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // Whoever says too much may be hung up on.
    let _ = stream.write_all(body.as_bytes()).await;
    let _ = stream.flush().await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn pod(label: &str, profile: &str) -> Value {
    json!({
        "metadata": {
            "generateName": "api-",
            "labels": { "credential-relay.io/inject": label },
            "annotations": { "credential-relay.io/profile": profile },
        },
        "spec": { "containers": [{ "name": "app" }] },
    })
}

fn review(object: &Value) -> String {
    review_in("payments", object)
}

/// In the order in which the API server writes it.
fn review_in(namespace: &str, object: &Value) -> String {
    let namespace = json!(namespace);
    let who = json!({ "username": "a", "groups": ["system:authenticated"] });
    let kind = json!({ "group": "", "version": "v1", "kind": "Pod" });
    let head = format!(
        r#""uid":"{UID}","kind":{kind},"name":"","namespace":{namespace},"operation":"CREATE","userInfo":{who}"#
    );
    format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{{head},"object":{object},"oldObject":null,"dryRun":false}}}}"#
    )
}

const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";

#[tokio::test]
async fn the_api_server_is_answered_and_what_becomes_of_pods_is_counted() {
    let running = Running::start();
    let (status, body) = running.review(&review(&pod("true", "payments"))).await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &answer["response"]["allowed"]), (200, &true.into()), "{body}");
    assert_eq!(answer["response"]["uid"], UID);
    assert_eq!(answer["response"]["patchType"], "JSONPatch");
    assert!(answer["response"]["patch"].as_str().unwrap().len() > 1000);

    let (status, body) = running.review(&review(&pod("true", "nobody"))).await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &answer["response"]["allowed"]), (200, &false.into()), "{body}");
    let message = answer["response"]["status"]["message"].as_str().unwrap();
    assert!(message.starts_with("credential-relay.io/profile: nobody: "), "{message}");

    let (status, body) = running.review(&review(&pod("false", "nobody"))).await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &answer["response"]["allowed"]), (200, &true.into()), "{body}");
    assert!(answer["response"].get("patch").is_none());

    for body in ["", "{", "[]", &review(&Value::Null)[..40], &"[".repeat(10_000)] {
        let (status, answer) = running.review(body).await;
        assert_eq!(status, 400, "{answer}");
    }
    let (status, answer) = running.review(&"x".repeat(4 * 1024 * 1024 + 1)).await;
    assert_eq!(status, 400, "{answer}");
    assert_eq!(running.webhook("GET", "/mutate", "").await.0, 405);
    assert_eq!(running.webhook("POST", "/", "").await.0, 404);
    assert_eq!(running.webhook("GET", "/metrics", "").await.0, 404);
    assert_eq!(ask(running.admin, "GET", "/readyz").await.0, 200);

    let (_, metrics) = ask(running.admin, "GET", "/metrics").await;
    for (outcome, count) in
        [("injected", 1), ("refused", 1), ("not_asked", 1), ("malformed", 6), ("unchanged", 0)]
    {
        let line = format!(
            "credential_relay_injector_admissions_total{{outcome=\"{outcome}\"}} {count}\n"
        );
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
    running.stop.send(()).unwrap();
    running.task.await.unwrap();
}

/// The API server sets the one of the request; whoever makes a pod writes the other.
#[tokio::test]
async fn the_requests_namespace_counts_and_not_the_pods() {
    let running = Running::start();
    for (requests, pods, allowed) in
        [("elsewhere", "payments", false), ("payments", "elsewhere", true)]
    {
        let mut pod = pod("true", "payments");
        pod["metadata"]["namespace"] = pods.into();
        let (status, body) = running.review(&review_in(requests, &pod)).await;
        let answer: Value = serde_json::from_str(&body).unwrap();
        let response = &answer["response"];
        assert_eq!((status, &response["allowed"]), (200, &allowed.into()), "{requests}: {body}");
        assert_eq!(response.get("patch").is_some(), allowed, "{requests}: {body}");
        let message = response["status"]["message"].as_str().unwrap_or_default();
        assert_eq!(message.ends_with("the namespace elsewhere"), !allowed, "{body}");
    }
}

/// Whoever makes a pod chooses its texts. The log is that of the program, in both of its formats.
#[tokio::test]
async fn a_text_of_a_pod_forges_no_line_of_the_log() {
    let forged = "x\n{\"level\":\"ERROR\",\"message\":\"forged\"}\r\u{1b}[2K";
    let mut pod = pod("true", forged);
    let metadata = &mut pod["metadata"];
    metadata["name"] = forged.into();
    metadata["annotations"][format!("credential-relay.io/{forged}")] = forged.into();
    metadata["ownerReferences"] = json!([{ "kind": forged, "name": forged }]);
    for format in ["json", "human"] {
        let files = TempDir::new().unwrap();
        let (certificates, tls) = certificate(files.path());
        let Certificates::Files { cert, key } = certificates else { panic!("they are in files") };
        let text = fs::read_to_string(project().join("tests/inject_cases/injector.yaml")).unwrap();
        let (_self_managed, rest) = text.split_once('\n').unwrap();
        let own = json!({ "files": { "cert": cert, "key": key } });
        let listen = "listen: 127.0.0.1:0\nadmin: { listen: '127.0.0.1:0' }";
        let config = files.path().join("injector.yaml");
        fs::write(&config, format!("{listen}\ncertificates: {own}\n{rest}")).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_credential-relay"))
            .args(["inject", "--drain", "0", "--config", config.to_str().unwrap()])
            .env_clear()
            .env("CREDENTIAL_RELAY_LOG_FORMAT", format)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(program.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("listening") {
            assert_ne!(log.read_line(&mut said).await.unwrap(), 0, "{said}");
        }
        let (_, at) = said.split_once("https://").unwrap();
        let webhook = at.split('"').next().unwrap().parse().unwrap();
        let question = review_in(forged, &pod);
        let (status, body) = say(connect(webhook, &tls).await, "POST", "/mutate", &question).await;
        assert_eq!(status, 200, "{body}");
        kill_process(
            Pid::from_raw(program.id().unwrap().try_into().unwrap()).unwrap(),
            Signal::TERM,
        )
        .unwrap();
        log.read_to_string(&mut said).await.unwrap();
        assert!(program.wait().await.unwrap().success(), "{said}");

        let whole = |line: &str| match format {
            "json" => {
                serde_json::from_str::<Value>(line).is_ok_and(|line| line["message"] != "forged")
            }
            _ => {
                line.starts_with("20")
                    && [" INFO ", " WARN "].iter().any(|level| line.contains(level))
            }
        };
        assert!(said.lines().all(whole), "{said}");
        assert!(!said.contains(['\r', '\u{1b}']), "{said}");
        let of_the_pod: Vec<_> = said.lines().filter(|line| line.contains("forged")).collect();
        let [admission] = of_the_pod[..] else { panic!("{said}") };
        assert!(admission.contains("admission"), "{said}");
    }
}

#[tokio::test]
async fn a_pod_that_is_too_large_is_refused_if_it_asks_for_the_relay() {
    let running = Running::start();
    let large = |label: &str, member: &str, value: Value| {
        let mut pod = pod(label, "payments");
        pod["spec"]["containers"][0][member] = value;
        review(&pod)
    };
    let text = || Value::from("x".repeat(1024 * 1024));
    let values = || Value::from_iter(std::iter::repeat_n(json!({ "": 0 }), 50_000));
    for (body, allowed) in [
        (large("true", "image", text()), false),
        (large("true", "env", values()), false),
        (large("false", "image", text()), true),
        (large("false", "env", values()), true),
    ] {
        let (status, answer) = running.review(&body).await;
        assert_eq!(status, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let response = &answer["response"];
        assert_eq!(response["uid"], UID);
        assert_eq!(response["allowed"], allowed, "{answer}");
        let message = response["status"]["message"].as_str().unwrap_or_default();
        assert_eq!(message.starts_with("pod: it is too large to be injected: "), !allowed);
    }
}

/// As many as the injector allows at a time.
const CONNECTIONS: usize = 64;

#[tokio::test]
async fn questions_that_never_come_hold_up_no_other() {
    let running = Running::start();
    let mut stalled = Vec::new();
    for _ in 0..CONNECTIONS {
        stalled.push(running.connect().await);
    }
    for stream in &mut stalled {
        let head = "POST /mutate HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 999\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        // The injector says so when it has read the head and waits for the body.
        let mut answer = [0; 25];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    for _ in 0..3 {
        let (status, body) = running.review(&review(&pod("true", "payments"))).await;
        assert_eq!(status, 200, "{body}");
    }
    // Room was made at once, and not by waiting until a body had taken too long.
    let (_, metrics) = ask(running.admin, "GET", "/metrics").await;
    for (outcome, count) in [("injected", 3), ("malformed", 0)] {
        let line = format!("admissions_total{{outcome=\"{outcome}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
    let mut first = Vec::new();
    let _ = stalled[0].read_to_end(&mut first).await;
    assert!(first.is_empty(), "the one that had been idle longest makes room");
}

#[tokio::test]
async fn probes_say_whether_the_api_server_can_be_answered() {
    let listener = listener::bind("admin.listen", "127.0.0.1:0".parse().unwrap()).unwrap();
    let admin = listener.local_addr().unwrap();
    let (certificate, status) = watch::channel(Status::default());
    let service = Admin::new(Metrics::default(), status);
    let (_trigger, signal) = shutdown::channel();
    tokio::spawn(listener::serve(vec![listener], service, Limits::uncounted(4), signal));

    assert_eq!(ask(admin, "GET", "/livez").await.0, 200);
    for probe in ["/readyz", "/startupz"] {
        let (status, text) = ask(admin, "GET", probe).await;
        assert_eq!(status, 503);
        assert!(text.starts_with("not ready: there is no certificate yet"), "{text}");
    }
    let expiry = |metrics: &str| {
        let name = "credential_relay_injector_certificate_expiry_timestamp_seconds ";
        metrics.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
    };
    assert_eq!(expiry(&ask(admin, "GET", "/metrics").await.1).as_deref(), Some("0"));
    let expires = Some(Timestamp::from_secs(1_800_000_000));
    certificate.send_replace(Status { ready: true, expires });
    assert_eq!(ask(admin, "GET", "/readyz").await.0, 200);
    assert_eq!(expiry(&ask(admin, "GET", "/metrics").await.1).as_deref(), Some("1800000000"));
    assert_eq!(ask(admin, "POST", "/readyz").await.0, 405);
    assert_eq!(ask(admin, "POST", "/mutate").await.0, 404);
}
