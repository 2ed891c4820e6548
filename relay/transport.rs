//! The HTTP client by which every upstream is asked: its roots and client certificate, proxies,
//! timeouts, and an end to every answer.
//!
//! One [`Transport`] stands for one set of TLS settings. It is shared by all who have equal ones, so
//! that roots are parsed once and a further upstream costs next to nothing.

mod route;
mod tls;

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::config::Tls;
use crate::config::values::UpstreamUrl;
use crate::files::Aside;
use route::{Route, ThroughProxy};
pub use tls::TlsError;

/// A connection that cannot be made within this time will hardly be made at all (upstreams
/// section 4).
const CONNECT: Duration = Duration::from_secs(3);

/// The calls of one fetch follow each other at once, and the next rotation is half an hour away: a
/// connection that is kept for longer only takes memory, some 20 kB each.
const POOL_IDLE: Duration = Duration::from_secs(5);
const POOL_CONNECTIONS: usize = 2;

/// Answers of STS and of Vault have a few kilobytes; one without end is not read into memory.
const LARGEST_ANSWER: usize = 256 << 10;

/// Whether TLS is spoken, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Security {
    /// Plain http: to this machine, or where the operator allowed it. No proxy is asked.
    Plain,
    /// TLS.
    Tls(Tls),
}

impl Security {
    /// For an upstream of AWS's: its own endpoint, or the one that is set in its place, with roots of
    /// one's own where they are set.
    pub fn of(endpoint: Option<&UpstreamUrl>, ca_cert: Option<&PathBuf>) -> Self {
        match endpoint {
            Some(endpoint) if endpoint.is_plain() => Self::Plain,
            Some(_) | None => Self::Tls(Tls { ca_cert: ca_cert.cloned(), ..Tls::default() }),
        }
    }
}

/// The transports that are in use. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Transports(Arc<std::sync::Mutex<HashMap<Security, Transport>>>);

impl Transports {
    /// The transport for these settings; one that exists is shared.
    ///
    /// # Errors
    /// If a file of the TLS settings cannot be used.
    pub fn get(&self, security: Security) -> Result<Transport, TlsError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = known.get(&security) {
            return Ok(shared.clone());
        }
        let made = Transport::new(security.clone())?;
        known.insert(security, made.clone());
        Ok(made)
    }
}

/// Sends requests over TLS or plain http. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Transport {
    security: Security,
    current: Arc<RwLock<Client<Route, Full<Bytes>>>>,
    /// Held by whoever reads the files again: a mount that hangs holds up one thread.
    reloading: Arc<Mutex<()>>,
}

impl Transport {
    fn new(security: Security) -> Result<Self, TlsError> {
        let current = Arc::new(RwLock::new(build(&security)?));
        Ok(Self { security, current, reloading: Arc::default() })
    }

    /// Sends a request and reads the whole answer, within `limit`. Redirects are not followed.
    ///
    /// # Errors
    /// If no whole answer came. A certificate that was not accepted has the CA read again.
    pub async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        limit: Duration,
    ) -> Result<Response<Bytes>, SendError> {
        let connection = capture_connection(&mut request);
        let client = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        // On the heap for the time of the call alone: it is large, and many wait for their turn.
        let exchange = Box::pin(async move {
            let (head, body) =
                client.request(request).await.map_err(SendError::Connection)?.into_parts();
            let body = Limited::new(body, LARGEST_ANSWER).collect().await;
            let body = body.map_err(SendError::Answer)?.to_bytes();
            Ok(Response::from_parts(head, body))
        });
        let late = |_| match connection.connection_metadata().as_ref() {
            Some(_) => SendError::Late(limit),
            None => SendError::NoConnection(limit),
        };
        let sent = timeout(limit, exchange).await.map_err(late).flatten();
        if sent.as_ref().is_err_and(SendError::is_tls) {
            self.reload().await;
        }
        sent
    }

    /// Reads the CA and the client certificate again: either may have been renewed. What cannot be
    /// used changes nothing.
    pub async fn reload(&self) {
        if self.security == Security::Plain {
            return;
        }
        let Self { security, current, reloading } = self.clone();
        let Ok(turn) = reloading.try_lock_owned() else {
            return;
        };
        let reload = move || {
            match build(&security) {
                Ok(fresh) => {
                    tracing::info!("the CA and the client certificate were read again");
                    *current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
                }
                Err(error) => tracing::error!(%error, "the TLS files from before stay in use"),
            }
            drop(turn);
        };
        // A panic was told by its hook, and changes nothing.
        let _ = Aside::default().run(reload).await;
    }
}

fn build(security: &Security) -> Result<Client<Route, Full<Bytes>>, TlsError> {
    let route = match security {
        Security::Plain => Route::plain(CONNECT),
        Security::Tls(settings) => {
            Route::secure(CONNECT, tls::config(settings)?, tls::server_name(settings)?)
        }
    };
    Ok(Client::builder(TokioExecutor::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(POOL_CONNECTIONS)
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .build(route))
}

/// Why no whole answer came.
#[derive(Debug)]
pub enum SendError {
    /// No connection, or it broke before an answer began.
    Connection(hyper_util::client::legacy::Error),
    /// The answer broke off, or is longer than any should be.
    Answer(Box<dyn Error + Send + Sync>),
    /// There was no connection in this time.
    NoConnection(Duration),
    /// There was a connection, and no whole answer in this time.
    Late(Duration),
}

impl SendError {
    /// Whether the request may have reached the upstream, and have been carried out there.
    pub fn may_have_arrived(&self) -> bool {
        match self {
            Self::Connection(error) => !error.is_connect(),
            Self::NoConnection(_) => false,
            Self::Answer(_) | Self::Late(_) => true,
        }
    }

    /// Whether TLS failed somewhere below.
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Connection(error) => is_tls(error),
            Self::Answer(error) => is_tls(error.as_ref()),
            Self::NoConnection(_) | Self::Late(_) => false,
        }
    }
}

impl fmt::Display for SendError {
    /// The innermost error's text: those around it say only that something failed, but for the
    /// proxy's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(error) => match proxy_of(error) {
                Some(proxy) => write!(f, "{proxy}: {}", root_of(error)),
                None => f.write_str(&root_of(error)),
            },
            Self::Answer(error) => write!(f, "the answer broke off: {}", root_of(error.as_ref())),
            Self::NoConnection(limit) => write!(f, "no connection in time ({} s)", limit.as_secs()),
            Self::Late(limit) => write!(f, "no answer within {} s", limit.as_secs()),
        }
    }
}

impl Error for SendError {}

/// An `io::Error` hides the error that it was made of from `source()`, so it is looked into.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(|io| io.get_ref())
            .map(|inner| inner as &(dyn Error + 'static));
        if error.is::<rustls::Error>() || inner.is_some_and(is_tls) {
            return true;
        }
        next = error.source();
    }
    false
}

/// The proxy behind which it failed.
fn proxy_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a ThroughProxy> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(proxy) = error.downcast_ref() {
            return Some(proxy);
        }
        next = error.source();
    }
    None
}

fn root_of(error: &(dyn Error + 'static)) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}
