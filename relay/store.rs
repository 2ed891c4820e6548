//! The latest state of each profile: one publisher, many readers.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use crate::clock::Moment;
use crate::credential::{Credential, document};
use crate::failure::{Cause, Failure, Stage};

/// A credential as it is handed out: its answer is rendered once, not per request.
#[derive(Debug)]
pub struct Served {
    credential: Credential,
    body: Body,
}

/// A rendered answer. It holds the keys, so it prints as its length.
#[derive(Clone)]
struct Body(Bytes);

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[redacted, {} bytes]", self.0.len())
    }
}

impl Served {
    /// Clients refuse more (endpoint-contract section 3).
    const LARGEST_BODY: usize = 10_000;

    /// Checks a fetched credential and renders its answer.
    ///
    /// # Errors
    /// If it has expired already, or no client could read its answer.
    pub fn new(credential: Credential, now: Moment) -> Result<Self, Failure> {
        let refuse = |reason: String| Failure::new(Cause::Transient, Stage::Relay, reason);
        if !credential.usable(now) {
            return Err(refuse(format!(
                "the credential {} that was fetched has expired already; is this machine's clock right?",
                credential.access_key_id
            )));
        }
        if credential.secrets().any(|secret| {
            secret.is_empty() || !secret.expose().bytes().all(|b| b.is_ascii_graphic())
        }) {
            return Err(refuse(format!(
                "the credential {} that was fetched has an empty secret, or one with blanks or characters outside ASCII",
                credential.access_key_id
            )));
        }
        let body = document::container(&credential);
        if body.len() >= Self::LARGEST_BODY {
            return Err(refuse(format!(
                "the credential {} makes an answer of {} bytes, and clients refuse {} or more",
                credential.access_key_id,
                body.len(),
                Self::LARGEST_BODY
            )));
        }
        Ok(Self {
            credential,
            body: Body(body),
        })
    }

    /// The credential.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The answer to a client; a clone of it shares the bytes.
    pub fn body(&self) -> Bytes {
        self.body.0.clone()
    }
}

/// How the renewal of a credential goes that is still good.
#[derive(Clone, Debug)]
pub enum Health {
    /// The last attempt succeeded.
    Renewing,
    /// The last attempt failed; the credential is the one from before.
    Failing(Arc<Failure>),
}

/// What the store holds for a profile.
#[derive(Clone, Debug)]
pub enum Snapshot {
    /// Nothing was fetched yet.
    Pending,
    /// A credential, which may have ended since: ask [`Snapshot::view`].
    Available(Arc<Served>, Health),
    /// Nothing valid, and why.
    Unavailable(Arc<Failure>),
}

/// What a snapshot means at a given moment.
#[derive(Clone, Copy, Debug)]
pub enum View<'a> {
    /// The first fetch has not ended.
    Pending,
    /// This may be handed out now.
    Ready(&'a Arc<Served>, &'a Health),
    /// The last credential has ended and its renewal is under way: a machine was suspended.
    Expired,
    /// Nothing valid, and why.
    Unavailable(&'a Arc<Failure>),
}

impl Snapshot {
    /// What it means at `now`: a credential that has ended is never ready.
    pub fn view(&self, now: Moment) -> View<'_> {
        match self {
            Self::Pending => View::Pending,
            Self::Available(served, health) if served.credential.usable(now) => {
                View::Ready(served, health)
            }
            Self::Available(_, Health::Failing(failure)) => View::Unavailable(failure),
            Self::Available(_, Health::Renewing) => View::Expired,
            Self::Unavailable(failure) => View::Unavailable(failure),
        }
    }
}

/// A fresh pair of ends, pending.
pub fn channel() -> (Publisher, Reader) {
    let (sender, receiver) = watch::channel(Snapshot::Pending);
    (Publisher(sender), Reader(receiver))
}

/// The writing end, held by the profile's rotation.
#[derive(Debug)]
pub struct Publisher(watch::Sender<Snapshot>);

impl Publisher {
    /// Puts a new credential in the place of whatever was there.
    pub fn publish(&self, served: Arc<Served>) {
        self.0
            .send_replace(Snapshot::Available(served, Health::Renewing));
    }

    /// Notes that a fetch failed. A credential that is still good at `now` stays.
    pub fn report(&self, failure: Arc<Failure>, now: Moment) {
        self.0.send_modify(|snapshot| {
            let next = match snapshot.view(now) {
                View::Ready(served, _) => {
                    Snapshot::Available(Arc::clone(served), Health::Failing(failure))
                }
                View::Pending | View::Expired | View::Unavailable(_) => {
                    Snapshot::Unavailable(failure)
                }
            };
            *snapshot = next;
        });
    }
}

/// A reading end; as many as are wanted.
#[derive(Clone, Debug)]
pub struct Reader(watch::Receiver<Snapshot>);

impl Reader {
    /// The present snapshot, without copying it. The guard must not be held over an await.
    pub fn borrow(&self) -> watch::Ref<'_, Snapshot> {
        self.0.borrow()
    }

    /// Waits until `settled` holds for the snapshot. Never returns once the publisher is gone:
    /// give it a deadline.
    pub async fn until(&mut self, settled: impl FnMut(&Snapshot) -> bool) {
        if self.0.wait_for(settled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;
    use crate::credential::{Secret, Session, fixtures};

    const START: Moment = Moment {
        wall: Timestamp::from_secs(1_000_000),
        boot: Duration::from_secs(50),
    };

    fn served(n: u32) -> Arc<Served> {
        let credential = fixtures::session(n, START, Duration::from_secs(100));
        Arc::new(Served::new(credential, START).unwrap())
    }

    fn failure() -> Arc<Failure> {
        Arc::new(Failure::new(Cause::Transient, Stage::Relay, "test"))
    }

    #[test]
    fn a_failure_keeps_the_credential_until_it_ends() {
        let (publisher, reader) = channel();
        publisher.publish(served(1));
        publisher.report(failure(), START);
        assert!(matches!(
            reader.borrow().view(START),
            View::Ready(_, Health::Failing(_))
        ));
        let end = START + Duration::from_secs(90);
        assert!(matches!(reader.borrow().view(end), View::Unavailable(_)));
        publisher.report(failure(), end);
        assert!(matches!(*reader.borrow(), Snapshot::Unavailable(_)));
    }

    #[test]
    fn an_expired_credential_is_not_accepted() {
        let credential = fixtures::session(1, START, Duration::from_secs(100));
        let error = Served::new(credential, START + Duration::from_secs(90)).unwrap_err();
        assert!(error.reason.contains("expired already"), "{error}");
    }

    #[test]
    fn a_secret_with_a_newline_is_not_accepted_and_not_told() {
        let mut credential = fixtures::session(1, START, Duration::from_secs(100));
        credential.session = Session::Token(Secret::new("session-token\n".into()));
        let error = Served::new(credential, START).unwrap_err();
        assert!(error.reason.contains("blanks"), "{error}");
        assert!(!error.reason.contains("session-token"), "{error}");
    }

    #[test]
    fn nothing_prints_the_body() {
        let (publisher, reader) = channel();
        publisher.publish(served(1));
        let printed = format!("{:?}", *reader.borrow());
        assert!(!printed.contains("of-test"), "{printed}");
    }
}
