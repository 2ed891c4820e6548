//! The admission webhook that puts the relay into pods.
//!
//! ```text
//! question ──► wishes ──► policy ──► plan ──► mutate ──► patch ──► answer
//!  review      annotations  who may   what the  the pod    what
//!                           have what relay is  with it    differs
//!                                     told
//! ```
//!
//! Everything from the wishes to the patch is a pure function of the pod, its namespace and the
//! injector's configuration. The webhook decides what a pod is given; what its credentials may do is
//! decided by what Vault and AWS bind to its service account.

pub mod admin;
pub mod certificates;
mod denial;
mod metrics;
mod mutate;
mod patch;
mod pod;
mod policy;
mod review;
mod wishes;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::config::injector::Injector;
pub use denial::Denial;
pub use metrics::{Admission, Metrics};
pub use mutate::{Outcome, mutate};
pub use patch::Operation;
pub use pod::LABEL;
pub use wishes::{ANNOTATIONS, PREFIX};

/// Where the API server asks.
pub const PATH: &str = "/mutate";

/// The largest question that is read, in bytes: the API server takes an object of 3 MiB.
const LARGEST_BODY: usize = 4 * 1024 * 1024;

/// How long a question may take to come in: a webhook's longest timeout.
const SLOWEST_BODY: Duration = Duration::from_secs(30);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// Answers the API server. It must be served over TLS, which is not its own affair.
#[derive(Clone, Debug)]
pub struct Webhook {
    settings: Arc<Injector>,
    metrics: Metrics,
}

impl Webhook {
    /// Injects as `settings` say.
    pub fn new(settings: Arc<Injector>, metrics: Metrics) -> Self {
        Self { settings, metrics }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() != PATH {
            return reply(StatusCode::NOT_FOUND, TEXT, format!("not found: here is {PATH}\n"));
        }
        if *request.method() != Method::POST {
            return reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "use POST\n".to_owned());
        }
        let started = Instant::now();
        let body = timeout(SLOWEST_BODY, Limited::new(request, LARGEST_BODY).collect()).await;
        let (outcome, response) = match body {
            Ok(Ok(body)) => self.admit(&body.to_bytes()),
            Ok(Err(_)) => malformed(&format!("it is cut off, or larger than {LARGEST_BODY} bytes")),
            Err(_) => malformed("it came too slowly"),
        };
        self.metrics.answered(outcome, started.elapsed());
        response
    }

    fn admit(&self, body: &[u8]) -> (Admission, Response<Full<Bytes>>) {
        let request = match review::Request::read(body) {
            Ok(request) => request,
            Err(why) => return malformed(&why),
        };
        let outcome = match request.is_new_pod() {
            true => mutate(&request.object, &request.namespace, &self.settings),
            false => Ok(Outcome::NotAsked),
        };
        log(&request, &outcome);
        let answer = request.answer(&outcome).to_string();
        (admission(&outcome), reply(StatusCode::OK, JSON, answer))
    }
}

fn admission(outcome: &Result<Outcome, Denial>) -> Admission {
    match outcome {
        Ok(Outcome::NotAsked) => Admission::NotAsked,
        Ok(Outcome::Unchanged) => Admission::Unchanged,
        Ok(Outcome::Injected(_)) => Admission::Injected,
        Err(_) => Admission::Refused,
    }
}

fn malformed(why: &str) -> (Admission, Response<Full<Bytes>>) {
    tracing::warn!(outcome = Admission::Malformed.as_str(), why, "admission");
    let text = format!("this question cannot be answered: {why}\n");
    (Admission::Malformed, reply(StatusCode::BAD_REQUEST, TEXT, text))
}

/// One line for each pod. Its texts come from whoever made it: they are cut, and what is no letter in
/// them is escaped by the log.
fn log(request: &review::Request, outcome: &Result<Outcome, Denial>) {
    let text = |pointer| {
        let text = request.object.pointer(pointer).and_then(Value::as_str);
        text.map(pod::cut).unwrap_or_default()
    };
    let name = match text("/metadata/name") {
        none if none.is_empty() => text("/metadata/generateName"),
        name => name,
    };
    let namespace = pod::cut(&request.namespace);
    let owner = text("/metadata/ownerReferences/0/name");
    let kind = text("/metadata/ownerReferences/0/kind");
    let outcome_name = admission(outcome).as_str();
    match outcome {
        Err(denial) => {
            let why = denial.to_string();
            tracing::warn!(namespace, name, kind, owner, outcome = outcome_name, why, "admission");
        }
        Ok(_) => {
            tracing::info!(namespace, name, kind, owner, outcome = outcome_name, "admission");
        }
    }
}

impl tower::Service<Request<Incoming>> for Webhook {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let webhook = self.clone();
        Box::pin(async move { Ok(webhook.answer(request).await) })
    }
}

fn reply(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
