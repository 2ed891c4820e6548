//! Where the kubelet and Prometheus ask an injector: over plain HTTP, apart from where the API server
//! does.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::watch;

use super::Metrics;
use super::certificates::Status;
use crate::listener::reply::{OPEN_METRICS, TEXT, reply};
use crate::listener::{Answer, Answered, Peer};

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

impl Answer for Admin {
    fn answer(&self, request: Request<Incoming>, _: Peer) -> Answered {
        Answered::now(self.answer(request.method(), request.uri().path()))
    }
}
