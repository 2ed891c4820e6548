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
mod document;
mod metrics;
mod mutate;
mod patch;
mod pod;
mod policy;
mod review;
mod wishes;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use crate::access::AccessToken;
use crate::config::injector::Injector;
use crate::listener::body::{self, Bounds, Received};
use crate::listener::reply::{JSON, TEXT, reply};
use crate::listener::{Answer, Answered, Peer};
pub use denial::Denial;
pub use metrics::{Admission, Metrics};
pub use mutate::{Mint, Outcome, mutate};
pub use patch::Operation;
pub use pod::LABEL;
pub use wishes::{ANNOTATIONS, PREFIX};

/// Where the API server asks.
pub const PATH: &str = "/mutate";

/// What is read of a question. The API server takes an object of 3 MiB; whoever sends one is to hear that it
/// is too large for the injector, and not that it was hung up on. It sends a question in milliseconds.
const BODY: Bounds =
    Bounds { kept: review::MOST_BYTES, read: 4 * 1024 * 1024, within: Duration::from_secs(5) };

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
        let (outcome, response) = match body::read(request, BODY).await {
            Ok(body) => self.admit(&body),
            Err(missing) => malformed(&missing.to_string()),
        };
        self.metrics.answered(outcome, started.elapsed());
        response
    }

    /// It waits for nothing, and one thread answers everybody: so one question at a time is looked at.
    fn admit(&self, body: &Received) -> (Admission, Response<Full<Bytes>>) {
        let request = match review::Request::read(body) {
            Ok(request) => request,
            Err(why) => return malformed(&why),
        };
        let outcome = self.decide(&request);
        log(&request, &outcome);
        let answer = request.answer(&outcome).to_string();
        (admission(&outcome), reply(StatusCode::OK, JSON, answer))
    }

    fn decide(&self, request: &review::Request) -> Result<Outcome, Denial> {
        if !request.is_new_pod() || !request.may_ask() {
            return Ok(Outcome::NotAsked);
        }
        request.check_extent()?;
        let outcome =
            mutate(&request.object, &request.namespace, &self.settings, &AccessToken::generate)?;
        if let Outcome::Injected(operations) = &outcome {
            review::check_patch(operations)?;
        }
        Ok(outcome)
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

impl Answer for Webhook {
    fn answer(&self, request: Request<Incoming>, _: Peer) -> Answered {
        let webhook = self.clone();
        Answered::later(async move { webhook.answer(request).await })
    }
}
