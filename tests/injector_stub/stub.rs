//! `injector_stub inject --config FILE`: the real listener and the real certificates before a webhook that
//! puts an init container of the right name into every pod, and nothing else.
//!
//! tests/e2e/test_injector_certificates.py runs it in the place of `credential-relay inject` until that is
//! there, with the same configuration, of which it reads `listen`, `admin` and
//! `certificates.self_managed`. It takes lifetimes of seconds.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a stub of the tests must end")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use credential_relay::clock::Clock;
use credential_relay::config::environment::Environment;
use credential_relay::config::injector::certificates::{Certificates as Settings, SelfManaged};
use credential_relay::injector::certificates::{Certificates, Status};
use credential_relay::listener::{self, Limits, tls::Tls};
use credential_relay::shutdown::{self, Wish};
use credential_relay::transport::Transports;
use credential_relay::{cli, telemetry};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde_json::{Value, json};
use tokio::sync::watch;

const PATCH: &str = r#"[{"op":"add","path":"/spec/initContainers","value":[{"name":"credential-relay","image":"relay:test","restartPolicy":"Always"}]}]"#;

/// Answers reviews, or tells whether the certificate is there.
#[derive(Clone)]
enum Service {
    Webhook,
    Admin(watch::Receiver<Status>),
}

impl tower::Service<Request<Incoming>> for Service {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        match self {
            Self::Webhook => Box::pin(async { Ok(reviewed(request).await) }),
            Self::Admin(status) => {
                let ready = status.borrow().ready;
                let mut answer = Response::new(Full::default());
                *answer.status_mut() = if ready { 200 } else { 503 }.try_into().unwrap();
                Box::pin(std::future::ready(Ok(answer)))
            }
        }
    }
}

async fn reviewed(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let patch = aws_smithy_types::base64::encode(PATCH);
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": review["request"]["uid"],
            "allowed": true,
            "patchType": "JSONPatch",
            "patch": patch,
        },
    });
    Response::new(Full::new(Bytes::from(answer.to_string())))
}

fn settings(certificates: &Value) -> Settings {
    let own = &certificates["self_managed"];
    let text = |name: &str| own[name].as_str().unwrap().to_owned();
    let seconds = text("lifetime").trim_end_matches('s').parse().unwrap();
    Settings::SelfManaged(SelfManaged {
        namespace: text("namespace"),
        service: text("service"),
        secret: text("secret"),
        lease: text("lease"),
        webhook: text("webhook"),
        lifetime: Duration::from_secs(seconds),
    })
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, command, option, file] = arguments.as_slice() else {
        // Whatever else the program can do.
        let _ = cli::main(std::env::args_os());
        return;
    };
    assert_eq!((command.as_str(), option.as_str()), ("inject", "--config"));
    let config: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let environment = Environment::of_process();
    telemetry::Settings::read(|name| environment.get(name).map(str::to_owned)).unwrap().start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(serve(&config, &environment));
    runtime.shutdown_background();
    telemetry::flush();
}

async fn serve(config: &Value, environment: &Environment) {
    let mut wish = Wish::listen().unwrap();
    let settings = settings(&config["certificates"]);
    let certificates =
        Certificates::prepare(&settings, environment, &Transports::default(), Clock::system())
            .unwrap();
    let bind = |setting, text: &Value| {
        let address: SocketAddr = text.as_str().unwrap().parse().unwrap();
        listener::bind(setting, address).unwrap()
    };
    let webhook = bind("listen", &config["listen"]);
    let admin = bind("admin.listen", &config["admin"]["listen"]);
    tracing::info!(
        target: "credential_relay",
        webhook = format!("https://{}", webhook.local_addr().unwrap()),
        admin = format!("http://{}", admin.local_addr().unwrap()),
        "listening"
    );
    let (_trigger, signal) = shutdown::channel();
    let tls = Tls::new(webhook, certificates.current()).unwrap();
    let status = certificates.status();
    let limits = || Limits::uncounted(64);
    tokio::select! {
        () = wish.told() => {}
        () = certificates.run() => {}
        () = listener::serve(vec![tls], Service::Webhook, limits(), signal.clone()) => {}
        () = listener::serve(vec![admin], Service::Admin(status), limits(), signal) => {}
    }
}
