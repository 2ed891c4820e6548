//! The admin listeners: probes and metrics over TCP, status and rotate over a Unix socket. Neither
//! can hand out a credential: they see the store through [`Onlooker`]s alone, which give no secret.

mod probes;
mod socket;
pub mod status;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};

use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::config::values::ProfileName;
use crate::failure::Failure;
use crate::listener::reply::{JSON, OPEN_METRICS, TEXT, reply};
use crate::listener::{self, Answer, Answered, BindError, Limits, Peer};
use crate::metrics::Metrics;
use crate::shutdown::Signal;
use crate::store::Onlooker;

pub use socket::{SocketError, SocketFile};
use status::Status;

/// kubelet, Prometheus, and the operator's commands, which may wait for a rotation.
const CONNECTIONS: usize = 64;

/// So many may wait for a rotation of one profile, which takes as long as its upstreams do and
/// answers all that wait: the rest stay free for the status, which is wanted most then.
const ROTATIONS: usize = 2;

/// The profiles as the admin listeners see them. It is replaced as a whole when one comes or goes.
pub type Profiles = BTreeMap<ProfileName, Profile>;

/// One profile as the admin listeners see it.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its state.
    pub state: Onlooker,
    /// Where its credentials come from, in words.
    pub origin: String,
    turns: Arc<Semaphore>,
}

impl Profile {
    /// A profile with this state.
    pub fn new(state: Onlooker, origin: String) -> Self {
        Self { state, origin, turns: Arc::new(Semaphore::new(ROTATIONS)) }
    }
}

/// Whether the relay runs by what its configuration says now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Configuration {
    /// It does.
    InUse,
    /// The configuration has changed and cannot be used: the one from before is.
    Refused {
        /// When it was read.
        since: Timestamp,
        /// All that is wrong with it, without a secret.
        why: String,
    },
}

/// What the listeners tell of.
#[derive(Debug)]
pub struct Seen {
    /// The profiles.
    pub profiles: watch::Receiver<Arc<Profiles>>,
    /// The configuration.
    pub configuration: watch::Receiver<Configuration>,
    /// Where applications ask.
    pub endpoint: Vec<SocketAddr>,
}

/// Both listeners, bound; nothing is accepted yet.
#[derive(Debug)]
pub struct Bound {
    tcp: TcpListener,
    unix: UnixListener,
    address: SocketAddr,
}

/// Binds both; the socket's file stays for as long as its part of the answer. It must be called
/// within a tokio runtime.
///
/// # Errors
/// If the address or the socket cannot be had.
pub fn bind(config: &config::Admin) -> Result<(Bound, SocketFile), AdminError> {
    let tcp = listener::bind_everywhere("admin.listen", config.listen).map_err(AdminError::Tcp)?;
    let address = tcp.local_addr().unwrap_or(config.listen);
    let (unix, file) = socket::bind(&config.socket).map_err(AdminError::Socket)?;
    Ok((Bound { tcp, unix, address }, file))
}

/// Why the admin listeners could not be bound.
#[derive(Debug)]
pub enum AdminError {
    /// The TCP address.
    Tcp(BindError),
    /// The Unix socket.
    Socket(SocketError),
}

impl std::fmt::Display for AdminError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(error) => error.fmt(f),
            Self::Socket(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AdminError {}

impl Bound {
    /// Where probes and Prometheus ask, with the port that the kernel chose if it was 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves both until `signal` says stop.
    pub fn serve(
        self,
        seen: Seen,
        clock: Clock,
        metrics: Metrics,
        signal: Signal,
    ) -> impl Future<Output = ()> + Send + use<> {
        let state = Arc::new(State::new(seen, self.address, clock, metrics));
        let open = Service { state: Arc::clone(&state), reach: Reach::Network };
        let private = Service { state, reach: Reach::Socket };
        let limits = || Limits::uncounted(CONNECTIONS);
        let tcp = listener::serve(vec![self.tcp], open, limits(), signal.clone());
        let unix = listener::serve(vec![self.unix], private, limits(), signal);
        async {
            tokio::join!(tcp, unix);
        }
    }
}

struct State {
    seen: Seen,
    admin: SocketAddr,
    clock: Clock,
    metrics: Metrics,
    /// Whether a probe has been told yes.
    started: AtomicBool,
}

/// From where a request can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// From anywhere in the cluster: probes and metrics.
    Network,
    /// From the relay's own user: status and rotate.
    Socket,
}

struct Service {
    state: Arc<State>,
    reach: Reach,
}

impl Answer for Service {
    fn answer(&self, request: Request<Incoming>, _: Peer) -> Answered {
        let (method, path) = (request.method(), request.uri().path());
        match self.reach {
            Reach::Network => Answered::now(self.state.answer_network(method, path)),
            Reach::Socket => {
                let state = Arc::clone(&self.state);
                Answered::later(async move {
                    state.answer_socket(request.method(), request.uri().path()).await
                })
            }
        }
    }
}

impl State {
    fn new(seen: Seen, admin: SocketAddr, clock: Clock, metrics: Metrics) -> Self {
        Self { seen, admin, clock, metrics, started: AtomicBool::new(false) }
    }

    fn answer_network(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let answer: fn(&Self) -> Response<Full<Bytes>> = match path {
            "/livez" => |_| reply(StatusCode::OK, TEXT, "alive\n".to_owned()),
            "/readyz" => Self::ready,
            "/startupz" => Self::started,
            "/metrics" => |state| reply(StatusCode::OK, OPEN_METRICS, state.metrics.render()),
            _ => return not_found("here are /livez, /readyz, /startupz and /metrics"),
        };
        if *method == Method::GET { answer(self) } else { wrong_method("GET") }
    }

    /// As readiness until that is there, and yes from then on: an engine that replaces what is unhealthy
    /// must not replace every application because an upstream is down.
    fn started(&self) -> Response<Full<Bytes>> {
        if self.started.load(Ordering::Relaxed) {
            return reply(StatusCode::OK, TEXT, "started\n".to_owned());
        }
        self.ready()
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        let Seen { profiles, configuration, .. } = &self.seen;
        let report =
            probes::readiness(&profiles.borrow(), &configuration.borrow(), self.clock.now());
        if !report.ready {
            return reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, report.text);
        }
        self.started.store(true, Ordering::Relaxed);
        reply(StatusCode::OK, TEXT, report.text)
    }

    async fn answer_socket(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if path == "/status" {
            return if *method == Method::GET { self.status() } else { wrong_method("GET") };
        }
        match path.strip_prefix("/rotate/") {
            Some(name) if *method == Method::POST => self.rotate(name).await,
            Some(_) => wrong_method("POST"),
            None => not_found("here are GET /status and POST /rotate/<profile>"),
        }
    }

    fn status(&self) -> Response<Full<Bytes>> {
        let now = self.clock.now();
        let status = Status::of(&self.seen, self.admin, now);
        json(StatusCode::OK, &status)
    }

    async fn rotate(&self, name: &str) -> Response<Full<Bytes>> {
        let profile = self.seen.profiles.borrow().get(name).cloned();
        let Some(Profile { state, turns, .. }) = profile else {
            return not_found("there is no profile of that name");
        };
        let Ok(_turn) = turns.try_acquire() else {
            return reply(
                StatusCode::SERVICE_UNAVAILABLE,
                TEXT,
                format!("{ROTATIONS} wait for a rotation already: ask again once they are done\n"),
            );
        };
        tracing::info!(profile = name, "an operator asks for a new credential");
        match state.rotate().await {
            Ok(told) => json(StatusCode::OK, &status::Rotated::of(&told)),
            Err(failure) => json(StatusCode::BAD_GATEWAY, &status::Trouble::of(&failure)),
        }
    }
}

fn json(status: StatusCode, document: &impl serde::Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_string(document) {
        Ok(text) => reply(status, JSON, text),
        Err(error) => reply(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
    }
}

fn not_found(what_is: &str) -> Response<Full<Bytes>> {
    reply(StatusCode::NOT_FOUND, TEXT, format!("not found: {what_is}\n"))
}

fn wrong_method(right: &'static str) -> Response<Full<Bytes>> {
    let mut response = reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, format!("use {right}\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(right));
    response
}

/// One line of words for a failure, for probes.
fn in_words(failure: &Failure) -> String {
    format!("{} ({})", failure, failure.cause.as_str())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;
    use crate::credential::fixtures;
    use crate::store::{self, Served};

    impl Seen {
        /// One profile, and a configuration that is in use.
        pub(super) fn of_one(reader: store::Reader, origin: &str) -> Self {
            let profile = Profile::new(reader.into(), origin.to_owned());
            let profiles = Profiles::from([("a".parse().unwrap(), profile)]);
            Self {
                profiles: watch::Sender::new(Arc::new(profiles)).subscribe(),
                configuration: watch::Sender::new(Configuration::InUse).subscribe(),
                endpoint: Vec::new(),
            }
        }
    }

    #[test]
    fn what_has_started_stays_started_and_readiness_does_not() {
        let manual = ManualClock::starting_at(Timestamp::from_secs(1_000_000));
        let clock = manual.clock();
        let (store, reader) = store::channel(clock.now().wall);
        let address = ([127, 0, 0, 1], 0).into();
        let state =
            State::new(Seen::of_one(reader, ""), address, clock.clone(), Metrics::default());
        let told = |path| state.answer_network(&Method::GET, path).status();
        assert_eq!(told("/startupz"), StatusCode::SERVICE_UNAVAILABLE);
        let credential = fixtures::session(1, clock.now(), Duration::from_secs(100));
        store.publish(Arc::new(Served::new(credential, clock.now()).unwrap()));
        assert_eq!(told("/startupz"), StatusCode::OK);
        manual.suspend(Duration::from_secs(100));
        assert_eq!(told("/readyz"), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            told("/startupz"),
            StatusCode::OK,
            "an upstream that is down starts nothing again"
        );
        assert_eq!(told("/livez"), StatusCode::OK);
    }
}
