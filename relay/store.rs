//! The latest state of each profile: one publisher, many readers, and the way back by which an
//! operator asks for a new credential.

mod onlooker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::{Moment, Timestamp};
use crate::credential::{AccessKeyId, Credential, document};
use crate::failure::{Cause, Failure, Stage};

pub use onlooker::{Onlooker, Sight, Told};

/// A credential as it is handed out: its answer is rendered once, not per request.
#[derive(Debug)]
pub struct Served {
    credential: Credential,
    body: Body,
    used: Arc<Used>,
}

/// Which keys these are, and whether they were handed out: so much is known of them for longer than they are held.
#[derive(Debug)]
pub struct Used {
    id: AccessKeyId,
    handed_out: AtomicBool,
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
        let id = credential.access_key_id.clone();
        let used = Arc::new(Used { id, handed_out: AtomicBool::new(false) });
        Ok(Self { credential, body: Body(body), used })
    }

    /// The credential.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Whether it is handed out for the first time now: true once.
    pub fn first_use(&self) -> bool {
        !self.used.handed_out.swap(true, Ordering::Relaxed)
    }

    /// Its first use is still to come: nobody heard of the one that there was.
    pub fn forget_use(&self) {
        self.used.handed_out.store(false, Ordering::Relaxed);
    }

    /// What is known of it for longer than it is held.
    pub fn used(&self) -> Arc<Used> {
        Arc::clone(&self.used)
    }

    /// Comes after others, and says whether those were other keys: the same are not handed out for the first time
    /// where they were before.
    pub fn succeeds(&self, before: &Used) -> bool {
        let same = before.id == self.used.id;
        if same {
            let handed_out = before.handed_out.load(Ordering::Relaxed);
            self.used.handed_out.store(handed_out, Ordering::Relaxed);
        }
        !same
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

/// What the rotation of a profile is about to do; for people, not for decisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// A fetch is under way since then.
    Fetching(Timestamp),
    /// The credential is renewed then.
    Renew(Timestamp),
    /// The last attempt failed, and the next is made then.
    Retry(Timestamp),
    /// New keys are tried out before they are served.
    Proving {
        /// Since then.
        since: Timestamp,
        /// Which.
        access_key_id: AccessKeyId,
    },
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fetching(at) => write!(f, "fetching since {at}"),
            Self::Renew(at) => write!(f, "renew at {at}"),
            Self::Retry(at) => write!(f, "retry at {at}"),
            Self::Proving { since, access_key_id } => {
                write!(f, "checking since {since} that AWS knows {access_key_id}")
            }
        }
    }
}

/// What came of a rotation that somebody asked for.
pub type Rotated = Result<Arc<Served>, Arc<Failure>>;

/// How many may wait for one rotation; who comes then waits for room.
const ASKERS: usize = 32;

/// Fresh ends for one profile, pending since `now`.
pub fn channel(now: Timestamp) -> (Publisher, Reader) {
    let (snapshots, snapshot) = watch::channel(Snapshot::Pending);
    let (plans, plan) = watch::channel(Plan::Fetching(now));
    let (asker, asked) = mpsc::channel(ASKERS);
    (Publisher { snapshots, plans, asked }, Reader { snapshot, plan, asker })
}

/// The writing end, held by the profile's rotation.
#[derive(Debug)]
pub struct Publisher {
    snapshots: watch::Sender<Snapshot>,
    plans: watch::Sender<Plan>,
    asked: mpsc::Receiver<oneshot::Sender<Rotated>>,
}

impl Publisher {
    /// Puts a new credential in the place of whatever was there.
    pub fn publish(&self, served: Arc<Served>) {
        self.snapshots.send_replace(Snapshot::Available(served, Health::Renewing));
    }

    /// Notes that a fetch failed. A credential that is still good at `now` stays.
    pub fn report(&self, failure: Arc<Failure>, now: Moment) {
        self.snapshots.send_modify(|snapshot| {
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

    /// Takes a credential away that has died before its time.
    pub fn withdraw(&self, failure: Arc<Failure>) {
        self.snapshots.send_replace(Snapshot::Unavailable(failure));
    }

    /// Notes what comes next.
    pub fn plan(&self, plan: Plan) {
        self.plans.send_replace(plan);
    }

    /// What is held at the moment.
    pub fn held(&self) -> Snapshot {
        self.snapshots.borrow().clone()
    }

    /// Waits until somebody asks for a new credential, and gives the lines to answer on of all who
    /// have asked by then, since one rotation is as good for each of them. Who has gone again is
    /// not counted. Never returns once every reader is gone.
    pub async fn asked(&mut self) -> Vec<oneshot::Sender<Rotated>> {
        loop {
            let Some(first) = self.asked.recv().await else {
                return std::future::pending().await;
            };
            let mut replies = vec![first];
            while let Ok(reply) = self.asked.try_recv() {
                replies.push(reply);
            }
            replies.retain(|reply| !reply.is_closed());
            if !replies.is_empty() {
                return replies;
            }
        }
    }
}

/// A reading end; as many as are wanted.
#[derive(Clone, Debug)]
pub struct Reader {
    snapshot: watch::Receiver<Snapshot>,
    plan: watch::Receiver<Plan>,
    asker: mpsc::Sender<oneshot::Sender<Rotated>>,
}

impl Reader {
    /// The present snapshot, without copying it. The guard must not be held over an await.
    pub fn borrow(&self) -> watch::Ref<'_, Snapshot> {
        self.snapshot.borrow()
    }

    /// The present snapshot, of which [`Self::changed`] speaks from then on.
    pub fn look(&mut self) -> Snapshot {
        self.snapshot.borrow_and_update().clone()
    }

    /// Waits until the snapshot is another than it was when it was last looked at. Never returns
    /// once the publisher is gone.
    pub async fn changed(&mut self) {
        if self.snapshot.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// What the rotation is about to do.
    pub fn plan(&self) -> Plan {
        self.plan.borrow().clone()
    }

    /// Waits until `settled` holds for the snapshot. Never returns once the publisher is gone:
    /// give it a deadline.
    pub async fn until(&mut self, settled: impl FnMut(&Snapshot) -> bool) {
        if self.snapshot.wait_for(settled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Asks for a new credential now and waits for it. Who asks while a rotation is under way gets
    /// the next one, and shares it with all who wait. Who gives up before it starts makes none.
    ///
    /// # Errors
    /// If the rotation failed, or the profile was changed or taken away meanwhile.
    pub async fn rotate(&self) -> Rotated {
        let gone = || {
            let reason = "the profile was changed or taken away meanwhile; ask again";
            Arc::new(Failure::new(Cause::Internal, Stage::Relay, reason))
        };
        let (reply, answer) = oneshot::channel();
        self.asker.send(reply).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;
    use crate::clock::Timestamp;
    use crate::credential::{Secret, Session, fixtures};

    const START: Moment =
        Moment { wall: Timestamp::from_secs(1_000_000), boot: Duration::from_secs(50) };

    fn served(n: u32) -> Arc<Served> {
        let credential = fixtures::session(n, START, Duration::from_secs(100));
        Arc::new(Served::new(credential, START).unwrap())
    }

    fn failure() -> Arc<Failure> {
        Arc::new(Failure::new(Cause::Transient, Stage::Relay, "test"))
    }

    #[test]
    fn a_failure_keeps_the_credential_until_it_ends() {
        let (publisher, reader) = channel(START.wall);
        publisher.publish(served(1));
        publisher.report(failure(), START);
        assert!(matches!(reader.borrow().view(START), View::Ready(_, Health::Failing(_))));
        let end = START + Duration::from_secs(90);
        assert!(matches!(reader.borrow().view(end), View::Unavailable(_)));
        publisher.report(failure(), end);
        assert!(matches!(*reader.borrow(), Snapshot::Unavailable(_)));
    }

    #[tokio::test]
    async fn all_who_ask_are_answered_at_once_and_who_has_gone_is_not_counted() {
        let (mut publisher, reader) = channel(START.wall);
        let asks = || Box::pin(reader.rotate());
        let (mut gone, mut first, mut second) = (asks(), asks(), asks());
        assert!((&mut gone).now_or_never().is_none());
        drop(gone);
        assert!(publisher.asked().now_or_never().is_none());
        assert!((&mut first).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none());
        let replies = publisher.asked().await;
        assert_eq!(replies.len(), 2);
        for reply in replies {
            reply.send(Ok(served(1))).unwrap();
        }
        assert!(first.await.is_ok() && second.await.is_ok());
    }

    #[tokio::test]
    async fn who_waits_as_the_profile_changes_is_told_to_ask_again() {
        let (publisher, reader) = channel(START.wall);
        drop(publisher);
        let failure = reader.rotate().await.unwrap_err();
        assert!(failure.reason.contains("changed or taken away"), "{failure}");
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
        let (publisher, reader) = channel(START.wall);
        publisher.publish(served(1));
        let printed = format!("{:?}", *reader.borrow());
        assert!(!printed.contains("of-test"), "{printed}");
    }
}
