//! The endpoint that applications ask: guard, access token, answer.
//!
//! A request is answered from memory alone. `guard` says what it asks for and refuses what must
//! not be answered, `access` whether the token that it brought may have it, `answer` what the
//! profile's state means for it; all three are functions of their arguments. Whatever they decide
//! goes out through one place, `Service::conclude`, where it is counted.

pub mod access;
mod answer;
mod directory;
mod guard;
pub mod imds;
mod wire;

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::clock::Clock;
use crate::config;
use crate::listener::{self, Answer, Answered, BindError, Limits};
use crate::metrics::Metrics;
use crate::shutdown::Signal;
use answer::{Decision, Refusal};
use directory::Requests;
use guard::Hosts;

pub use directory::{Directory, Keyring, Profile};

/// How long a request is held while nothing valid is there and that may heal: less than the 1 s
/// after which Java, C++ and PHP stop reading (endpoint-contract section 5).
const HOLD: Duration = Duration::from_millis(800);

/// One connection of so many may have a request that is held. The others are answered at once, so
/// that they make room for those that wait to be accepted: those too must be answered within 1 s.
const HOLDING_SHARE: usize = 4;

/// The endpoint with its addresses bound and nothing accepted yet.
#[derive(Debug)]
pub struct Bound {
    listeners: Vec<TcpListener>,
    hosts: Hosts,
    max_connections: usize,
}

/// Binds the endpoint's address. It must be called within a tokio runtime.
///
/// # Errors
/// If the address cannot be bound. That `::1` cannot be bound beside 127.0.0.1 is no error: not
/// every pod has IPv6.
pub fn bind(config: &config::Endpoint) -> Result<Bound, BindError> {
    const SETTING: &str = "endpoint.listen";
    let first = listener::bind(SETTING, config.listen)?;
    let mut listeners = vec![first];
    if config.listen.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
        let port = local_address(&listeners[0]).map_or(config.listen.port(), |at| at.port());
        match listener::bind(SETTING, (Ipv6Addr::LOCALHOST, port).into()) {
            Ok(second) => listeners.push(second),
            Err(error) if error.kind() == ErrorKind::AddrInUse => warn!(
                %error,
                "the endpoint is not served over IPv6, and who has that port is sent the access tokens of clients that ask localhost instead of 127.0.0.1"
            ),
            Err(error) => debug!(%error, "the endpoint is not served over IPv6"),
        }
    }
    Ok(Bound {
        listeners,
        hosts: Hosts::new(config.listen.ip(), &config.hosts),
        max_connections: config.max_connections,
    })
}

fn local_address(listener: &TcpListener) -> Option<SocketAddr> {
    listener.local_addr().ok()
}

impl Bound {
    /// Where it listens: first the address that was configured, with the port that the kernel
    /// chose if it was 0.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(local_address).collect()
    }

    /// Serves what `directory` holds until `signal` says stop. The future must be polled within a
    /// tokio runtime.
    pub fn serve(
        self,
        directory: watch::Receiver<Arc<Directory>>,
        clock: Clock,
        metrics: &Metrics,
        signal: Signal,
    ) -> impl Future<Output = ()> + Send + use<> {
        let service = Service(Arc::new(Inner {
            hosts: self.hosts,
            directory,
            clock,
            unnamed: Requests::new("", metrics),
            holds: Semaphore::new((self.max_connections / HOLDING_SHARE).max(1)),
        }));
        let limits = Limits {
            connections: self.max_connections,
            open: metrics.connections(),
            evicted: metrics.evictions(),
        };
        listener::serve(self.listeners, service, limits, signal)
    }
}

/// Answers requests.
struct Service(Arc<Inner>);

struct Inner {
    hosts: Hosts,
    directory: watch::Receiver<Arc<Directory>>,
    clock: Clock,
    /// For requests that name no known profile.
    unnamed: Requests,
    /// How many more requests may be held.
    holds: Semaphore,
}

impl Answer for Service {
    fn answer(&self, request: Request<Incoming>) -> Answered {
        let asked_at = Instant::now();
        match self.0.answer(&request, asked_at) {
            Ok(response) => Answered::now(response),
            Err(profile) => {
                let inner = Arc::clone(&self.0);
                Answered::later(async move { inner.hold(&profile, asked_at).await })
            }
        }
    }
}

impl Inner {
    /// Answers at once, or says for which profile the request must be held.
    fn answer<B>(
        &self,
        request: &Request<B>,
        asked_at: Instant,
    ) -> Result<Response<Full<Bytes>>, Arc<Profile>> {
        let refuse = |profile: Option<&Profile>, refusal| {
            Ok(self.conclude(profile, &Decision::Refuse(refusal), asked_at))
        };
        let asked = match guard::admit(&self.hosts, request) {
            Ok(asked) => asked,
            Err(refusal) => return refuse(None, refusal),
        };
        let directory = self.directory.borrow();
        let profile =
            match directory.grant(asked.profile, asked.authorization.and_then(access::presented)) {
                Ok(profile) => profile,
                Err(refusal) => return refuse(directory.named(asked.profile), refusal),
            };
        let snapshot = profile.reader.borrow();
        let decision = answer::decide(snapshot.view(self.clock.now()));
        if decision.may_change_soon() {
            Err(Arc::clone(profile))
        } else {
            Ok(self.conclude(Some(profile), &decision, asked_at))
        }
    }

    /// Waits for the profile's state to become one that can be answered, and answers it, whatever
    /// it is, when the time is over, or at once if as many requests wait as may.
    async fn hold(&self, profile: &Profile, asked_at: Instant) -> Response<Full<Bytes>> {
        if let Ok(_hold) = self.holds.try_acquire() {
            profile.settled(&self.clock, asked_at).await;
        }
        let snapshot = profile.reader.borrow();
        let decision = answer::decide(snapshot.view(self.clock.now()));
        self.conclude(Some(profile), &decision, asked_at)
    }

    /// The one place through which every answer goes.
    fn conclude(
        &self,
        profile: Option<&Profile>,
        decision: &Decision<'_>,
        asked_at: Instant,
    ) -> Response<Full<Bytes>> {
        let requests = profile.map_or(&self.unnamed, |profile| &profile.requests);
        if let Decision::Refuse(Refusal::WrongToken(shape)) = decision
            && requests.may_log(self.clock.now())
        {
            warn!(
                profile = profile.map(|profile| profile.name.as_str()),
                presented = %shape,
                "a request was refused for its access token; more of them are counted but not logged for a minute"
            );
        }
        let response = wire::render(decision);
        requests.metrics.answered(decision.index(), asked_at.elapsed());
        response
    }
}
