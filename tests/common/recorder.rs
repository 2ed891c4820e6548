//! The upstream's service with a gate before it and a record of every secret that it hands out.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use credential_relay::dev::sts::{Closed, Sts};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::sync::watch;

/// Every secret that was issued so far; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Issued(Arc<Mutex<BTreeSet<String>>>);

impl Issued {
    pub(crate) fn all(&self) -> BTreeSet<String> {
        self.0.lock().unwrap().clone()
    }

    /// Reads an answer's XML, which a fault may have cut anywhere.
    fn note(&self, xml: &str) {
        for name in ["SecretAccessKey", "SessionToken"] {
            for part in xml.split(&format!("<{name}>")).skip(1) {
                let text = part.split('<').next().unwrap();
                self.0.lock().unwrap().insert(text.to_owned());
            }
        }
    }
}

#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) sts: Sts,
    pub(crate) issued: Issued,
    /// Calls wait while it says false.
    pub(crate) open: watch::Receiver<bool>,
}

impl Recorder {
    async fn respond(
        mut self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Closed> {
        self.open.wait_for(|open| *open).await.unwrap();
        let (head, body) = self.sts.respond(request).await?.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        self.issued.note(&String::from_utf8_lossy(&body));
        Ok(Response::from_parts(head, Full::new(body)))
    }
}

impl tower::Service<Request<Incoming>> for Recorder {
    type Response = Response<Full<Bytes>>;
    type Error = Closed;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Closed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        Box::pin(self.clone().respond(request))
    }
}
