//! Where the kubelet and Prometheus ask an injector: over plain HTTP, apart from where the API server
//! does.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::watch;

use super::Metrics;
use super::certificates::Status;
use crate::listener::reply::{OPEN_METRICS, TEXT, reply};

const NO_CERTIFICATE: &str =
    "not ready: there is no certificate yet that the API servers trust; the log says why\n";

/// Probes and metrics.
#[derive(Clone, Debug)]
pub struct Admin {
    metrics: Metrics,
    certificate: watch::Receiver<Status>,
}

impl Admin {
    /// Tells of these.
    pub fn new(metrics: Metrics, certificate: watch::Receiver<Status>) -> Self {
        Self { metrics, certificate }
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
            "/metrics" => {
                self.metrics.certificate(self.certificate.borrow().expires);
                reply(StatusCode::OK, OPEN_METRICS, self.metrics.render())
            }
            _ if self.certificate.borrow().ready => {
                reply(StatusCode::OK, TEXT, "ready\n".to_owned())
            }
            _ => reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, NO_CERTIFICATE.to_owned()),
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
