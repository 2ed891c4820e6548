//! The open connections of one server: how idle each is, and which must go.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::{Answer, Answered, Closed, LARGEST_HEAD, Limits, Peer, Reply, Stream};

/// The connections of one server. They end when it is dropped.
pub(super) struct Connections {
    answer: Arc<dyn Answer>,
    http: http1::Builder,
    limits: Limits,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    open: HashMap<tokio::task::Id, Open>,
    /// What the counter stood at when idle connections were last closed.
    mark: u64,
    /// Until when no connection is spared for being new.
    impatient_until: Instant,
}

struct Open {
    activity: Arc<Activity>,
    task: AbortHandle,
}

/// So long after it was accepted a connection that was not asked yet is spared, and one whose head has come
/// but not its body: the rest of the request is likely on the way. A client that opens many at once takes
/// tens of milliseconds to send on all.
const NEW: Duration = Duration::from_millis(100);

/// So long nothing is spared after a wait for a new connection was in vain: whoever floods with
/// silent connections holds the others up for a tenth of the time at most.
const IMPATIENCE: Duration = Duration::from_secs(1);

/// What the connections of one server share.
struct Shared {
    /// Counts the ends of answers: the lower the number a connection drew, the longer it is idle.
    counter: AtomicU64,
    draining: AtomicBool,
    /// Whether somebody waits for a connection to fall idle.
    full: AtomicBool,
    fell_idle: Notify,
}

/// What one connection does.
struct Activity {
    shared: Arc<Shared>,
    /// [`BUSY`], or the number that was drawn when it fell idle. Nothing else is read by its
    /// order, so relaxed access is enough.
    state: AtomicU64,
    awaited: Mutex<Awaited>,
}

/// When a connection was last known to be about to send: as it was accepted, or as the head of a request
/// with a body had come.
#[derive(Clone, Copy)]
struct Awaited {
    /// What was drawn then. The connection has this number for as long as nothing else came of it.
    number: u64,
    at: Instant,
}

const BUSY: u64 = u64::MAX;

impl Activity {
    /// That of a connection which was accepted just now.
    fn of_new(shared: &Arc<Shared>) -> Arc<Self> {
        let awaited = Awaited { number: shared.draw(), at: Instant::now() };
        Arc::new(Self {
            shared: Arc::clone(shared),
            state: AtomicU64::new(awaited.number),
            awaited: Mutex::new(awaited),
        })
    }

    /// The head of a request has come, and its body is on its way.
    fn awaits_body(&self) {
        let awaited = Awaited { number: self.shared.draw(), at: Instant::now() };
        *self.awaited.lock().unwrap_or_else(PoisonError::into_inner) = awaited;
        self.state.store(awaited.number, Ordering::Relaxed);
    }

    fn awaited(&self) -> Awaited {
        *self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number that it drew when it fell idle, unless a request is being answered.
    fn idle_since(&self) -> Option<u64> {
        Some(self.state.load(Ordering::Relaxed)).filter(|state| *state != BUSY)
    }
}

impl Shared {
    fn draw(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }
}

/// Tells connections to close after their next answer.
pub(super) struct DrainSwitch(Arc<Shared>);

impl DrainSwitch {
    pub(super) fn turn_on(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }
}

impl Connections {
    pub(super) fn new(answer: Arc<dyn Answer>, limits: Limits) -> Self {
        let mut http = http1::Builder::new();
        http.max_buf_size(LARGEST_HEAD)
            // Idle connections are closed by their number; hyper would make a timer per request.
            .header_read_timeout(None)
            // A client may close its sending side once it has sent its request, as `nc` does.
            .half_close(true);
        Self {
            answer,
            http,
            limits,
            shared: Arc::new(Shared {
                counter: AtomicU64::new(0),
                draining: AtomicBool::new(false),
                full: AtomicBool::new(false),
                fell_idle: Notify::new(),
            }),
            tasks: JoinSet::new(),
            open: HashMap::new(),
            mark: 0,
            impatient_until: Instant::now(),
        }
    }

    pub(super) fn drain_switch(&self) -> DrainSwitch {
        DrainSwitch(Arc::clone(&self.shared))
    }

    /// Serves a connection.
    pub(super) fn open(&mut self, stream: Stream) {
        let activity = Activity::of_new(&self.shared);
        let service = Observed {
            answer: Arc::clone(&self.answer),
            activity: Arc::clone(&activity),
            peer: stream.peer(),
        };
        let connection = self.http.serve_connection(TokioIo::new(stream), service);
        let task = self.tasks.spawn(drive(connection));
        self.open.insert(task.id(), Open { activity, task });
        self.count();
    }

    /// Waits for a connection to end. For ever while there is none.
    pub(super) async fn ended(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(ended) => self.forget(ended),
            None => std::future::pending().await,
        }
    }

    /// Waits until one more connection is allowed, and closes an idle one for it.
    pub(super) async fn make_room(&mut self) {
        self.make_room_below(self.limits.connections.max(1)).await;
    }

    /// Where there is no file for one more: as if no more were allowed than there are, and until the
    /// file of one is free, but for `most` at most, since files come and go elsewhere too.
    pub(super) async fn make_room_for_a_file(&mut self, most: Duration) {
        let now = self.tasks.len();
        let free = async {
            if now == 0 {
                std::future::pending::<()>().await;
            }
            self.make_room_below(now).await;
            while self.tasks.len() >= now {
                self.ended().await;
            }
        };
        let _ = timeout(most, free).await;
    }

    async fn make_room_below(&mut self, most: usize) {
        let shared = Arc::clone(&self.shared);
        while self.open.len() >= most {
            // Those that were accepted just now get their turn first: so a burst cannot push out
            // one whose request has arrived but was not read.
            tokio::task::yield_now().await;
            while let Some(ended) = self.tasks.try_join_next_with_id() {
                self.forget(ended);
            }
            shared.full.store(true, Ordering::Relaxed);
            if self.open.len() >= most {
                match self.first_to_go() {
                    Some((None, id)) => self.evict(id),
                    spared => self.wait(spared.and_then(|(until, _)| until)).await,
                }
            }
            shared.full.store(false, Ordering::Relaxed);
        }
    }

    /// Waits until a connection ends or falls idle, or until that moment at most.
    async fn wait(&mut self, until: Option<Instant>) {
        let shared = Arc::clone(&self.shared);
        tokio::select! {
            () = shared.fell_idle.notified() => {}
            () = self.ended() => {}
            Some(()) = async {
                tokio::time::sleep_until(until?).await;
                Some(())
            } => {
                self.impatient_until = Instant::now() + IMPATIENCE;
            }
        }
    }

    /// The connection that has been idle for longest; one that is new only if no other is idle,
    /// and then with the time until which it is to be spared.
    fn first_to_go(&self) -> Option<(Option<Instant>, tokio::task::Id)> {
        let now = Instant::now();
        let patient = now >= self.impatient_until;
        self.open
            .iter()
            .filter_map(|(id, open)| {
                let since = open.activity.idle_since()?;
                let awaited = open.activity.awaited();
                let spared_until = (patient && since == awaited.number)
                    .then(|| awaited.at + NEW)
                    .filter(|until| *until > now);
                Some((spared_until, since, *id))
            })
            .min_by_key(|(spared_until, since, _)| (*spared_until, *since))
            .map(|(spared_until, _, id)| (spared_until, id))
    }

    fn evict(&mut self, id: tokio::task::Id) {
        self.close(id);
        self.limits.evicted.inc();
    }

    /// Closes every connection that has been idle since before the last call.
    pub(super) fn close_idle(&mut self) {
        let mark = self.mark;
        let idle: Vec<_> = self
            .open
            .iter()
            .filter(|(_, open)| open.activity.idle_since().is_some_and(|since| since < mark))
            .map(|(id, _)| *id)
            .collect();
        for id in idle {
            self.close(id);
        }
        self.mark = self.shared.counter.load(Ordering::Relaxed);
    }

    fn close(&mut self, id: tokio::task::Id) {
        if let Some(open) = self.open.remove(&id) {
            open.task.abort();
        }
        self.count();
    }

    fn forget(&mut self, ended: Result<(tokio::task::Id, ()), JoinError>) {
        // An error says that it was aborted, or that the service panicked.
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        self.open.remove(&id);
        self.count();
    }

    fn count(&self) {
        self.limits.open.set(i64::try_from(self.open.len()).unwrap_or(i64::MAX));
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.limits.open.set(0);
    }
}

/// Drives a connection to its end.
async fn drive(mut connection: http1::Connection<TokioIo<Stream>, Observed>) {
    let Err(error) = (&mut connection).await else {
        return;
    };
    debug!(%error, "a connection ended early");
    if error.is_parse() {
        Box::pin(linger(connection.into_parts().io.into_inner())).await;
    }
}

/// Reads on for a while after the last answer. A socket that is closed with unread bytes resets
/// the connection, and the client may then lose the answer that said what was wrong.
async fn linger(mut stream: Stream) {
    const LONGEST: Duration = Duration::from_secs(1);
    const MOST_BYTES: u64 = 1024 * 1024;
    let mut rest = (&mut stream).take(MOST_BYTES);
    let mut nowhere = tokio::io::sink();
    let discard = tokio::io::copy(&mut rest, &mut nowhere);
    // The client went on or away: all the same to a connection that is over.
    let _ = tokio::time::timeout(LONGEST, discard).await;
}

/// Lies with a request whose body is on its way. Its connection is idle until then: a head alone costs its
/// sender nothing, and must not hold a place.
#[derive(Clone)]
pub(super) struct Arrival(Arc<Activity>);

impl Arrival {
    /// The body is whole, and the request is being answered from now on. It must be said before the answer
    /// is given.
    pub(super) fn ended(self) {
        self.0.state.store(BUSY, Ordering::Relaxed);
    }
}

/// What notes when it answers.
struct Observed {
    answer: Arc<dyn Answer>,
    activity: Arc<Activity>,
    peer: Peer,
}

impl hyper::service::Service<Request<Incoming>> for Observed {
    type Response = Reply;
    type Error = Closed;
    type Future = Answering;

    fn call(&self, mut request: Request<Incoming>) -> Answering {
        if request.body().is_end_stream() {
            self.activity.state.store(BUSY, Ordering::Relaxed);
        } else {
            self.activity.awaits_body();
            request.extensions_mut().insert(Arrival(Arc::clone(&self.activity)));
        }
        Answering {
            busy: Busy(Arc::clone(&self.activity)),
            answer: self.answer.answer(request, self.peer),
        }
    }
}

/// An answer under way.
struct Answering {
    busy: Busy,
    answer: Answered,
}

impl Future for Answering {
    type Output = Result<Reply, Closed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut answered = std::task::ready!(Pin::new(&mut self.answer).poll(context));
        if self.busy.0.shared.draining.load(Ordering::Relaxed)
            && let Ok(response) = &mut answered
        {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(answered)
    }
}

/// When it is dropped its connection falls idle.
struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        let shared = &self.0.shared;
        self.0.state.store(shared.draw(), Ordering::Relaxed);
        if shared.full.load(Ordering::Relaxed) {
            shared.fell_idle.notify_one();
        }
    }
}
