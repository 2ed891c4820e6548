//! The upstream's service with a gate before it and a record of every secret that it hands out.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use credential_relay::listener::{Answer, Answered, Closed, Peer, Reply};
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

    /// Reads an answer of STS or of Vault, which a fault may have cut anywhere.
    fn note(&self, answer: &str) {
        let elements = ["SecretAccessKey", "SessionToken"].map(|name| (format!("<{name}>"), '<'));
        let fields = ["client_token", "secret_key", "session_token", "secret_id"]
            .map(|name| (format!("\"{name}\":\""), '"'));
        for (before, after) in elements.into_iter().chain(fields) {
            for part in answer.split(&before).skip(1) {
                let text = part.split(after).next().unwrap();
                self.0.lock().unwrap().insert(text.to_owned());
            }
        }
    }
}

#[derive(Clone)]
pub(crate) struct Recorder<S> {
    pub(crate) upstream: S,
    pub(crate) issued: Issued,
    /// Calls wait while it says false.
    pub(crate) open: watch::Receiver<bool>,
    /// How many have come.
    pub(crate) arrived: watch::Sender<usize>,
}

impl<S: Answer + Clone> Recorder<S> {
    async fn respond(mut self, request: Request<Incoming>) -> Result<Reply, Closed> {
        self.arrived.send_modify(|calls| *calls += 1);
        self.open.wait_for(|open| *open).await.unwrap();
        let (head, body) = self.upstream.answer(request, Peer::Local).await?.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        self.issued.note(&String::from_utf8_lossy(&body));
        Ok(Response::from_parts(head, Full::new(body)))
    }
}

impl<S: Answer + Clone> Answer for Recorder<S> {
    fn answer(&self, request: Request<Incoming>, _: Peer) -> Answered {
        Answered::Later(Box::pin(self.clone().respond(request)))
    }
}
