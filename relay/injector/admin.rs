//! Where the kubelet and Prometheus ask an injector: over plain HTTP, apart from where the API server
//! does.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use super::{Metrics, TEXT, reply};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether the API server can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// Not yet, for this reason.
    Waiting(String),
}

/// Probes and metrics.
#[derive(Clone)]
pub struct Admin {
    metrics: Metrics,
    readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
}

impl Admin {
    /// Tells of these; `readiness` is asked at each probe.
    pub fn new(
        metrics: Metrics,
        readiness: impl Fn() -> Readiness + Send + Sync + 'static,
    ) -> Self {
        Self { metrics, readiness: Arc::new(readiness) }
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if !["/livez", "/readyz", "/startupz", "/metrics"].contains(&path) {
            let text = "not found: here are /livez, /readyz, /startupz and /metrics\n";
            return reply(StatusCode::NOT_FOUND, TEXT, text.to_owned());
        }
        if *method != Method::GET {
            return reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "use GET\n".to_owned());
        }
        match path {
            "/livez" => reply(StatusCode::OK, TEXT, "alive\n".to_owned()),
            "/metrics" => reply(StatusCode::OK, OPEN_METRICS, self.metrics.render()),
            _ => match (self.readiness)() {
                Readiness::Ready => reply(StatusCode::OK, TEXT, "ready\n".to_owned()),
                Readiness::Waiting(why) => {
                    reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("not ready: {why}\n"))
                }
            },
        }
    }
}

impl tower::Service<Request<Incoming>> for Admin {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        ready(Ok(self.answer(request.method(), request.uri().path())))
    }
}
