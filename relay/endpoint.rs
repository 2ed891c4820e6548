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

use crate::audit::{self, Audit};
use crate::clock::Clock;
use crate::config;
use crate::listener::{self, Answer, Answered, BindError, Limits, Peer};
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
        audit: Audit,
        signal: Signal,
    ) -> impl Future<Output = ()> + Send + use<> {
        let service = Service(Arc::new(Inner {
            hosts: self.hosts,
            directory,
            clock,
            audit,
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
    audit: Audit,
    /// For requests that name no known profile.
    unnamed: Requests,
    /// How many more requests may be held.
    holds: Semaphore,
}

impl Answer for Service {
    fn answer(&self, request: Request<Incoming>, peer: Peer) -> Answered {
        let asked = Asked { at: Instant::now(), peer };
        match self.0.answer(&request, asked) {
            Ok(response) => Answered::now(response),
            Err(profile) => {
                let inner = Arc::clone(&self.0);
                Answered::later(async move { inner.hold(&request, profile, asked).await })
            }
        }
    }
}

/// When a request came, and from whom.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    peer: Peer,
}

impl Inner {
    /// Answers at once, or says for which profile the request must be held.
    fn answer<B>(
        &self,
        request: &Request<B>,
        asked: Asked,
    ) -> Result<Response<Full<Bytes>>, Arc<Profile>> {
        let refuse = |profile: Option<&Profile>, refusal| {
            Ok(self.conclude(profile, &Decision::Refuse(refusal), asked))
        };
        let wanted = match guard::admit(&self.hosts, request) {
            Ok(wanted) => wanted,
            Err(refusal) => return refuse(None, refusal),
        };
        let directory = self.directory.borrow();
        let presented = wanted.authorization.and_then(access::presented);
        let profile = match directory.grant(wanted.profile, presented) {
            Ok(profile) => profile,
            Err(refusal) => return refuse(directory.named(wanted.profile), refusal),
        };
        let snapshot = profile.reader.borrow();
        let decision = answer::decide(snapshot.view(self.clock.now()));
        if decision.may_change_soon() {
            Err(Arc::clone(profile))
        } else {
            Ok(self.conclude(Some(profile), &decision, asked))
        }
    }

    /// Waits for the profile's state to become one that can be answered, and answers it, whatever
    /// it is, when the time is over, or at once if as many requests wait as may.
    async fn hold<B>(
        &self,
        request: &Request<B>,
        mut profile: Arc<Profile>,
        asked: Asked,
    ) -> Response<Full<Bytes>> {
        if let Ok(_hold) = self.holds.try_acquire() {
            let mut directory = self.directory.clone();
            while !profile.settled(&mut directory, &self.clock, asked.at).await {
                // Another profile may be there now, and others may be let in.
                profile = match self.answer(request, asked) {
                    Ok(response) => return response,
                    Err(profile) => profile,
                };
            }
        }
        let snapshot = profile.reader.borrow();
        let decision = answer::decide(snapshot.view(self.clock.now()));
        self.conclude(Some(&profile), &decision, asked)
    }

    /// The one place through which every answer goes.
    fn conclude(
        &self,
        profile: Option<&Profile>,
        decision: &Decision<'_>,
        asked: Asked,
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
        record(&self.audit, profile, decision, asked.peer);
        let response = wire::render(decision);
        requests.metrics.answered(decision.index(), asked.at.elapsed());
        response
    }
}

/// Records what an application was answered, if anything is recorded.
fn record(audit: &Audit, profile: Option<&Profile>, decision: &Decision<'_>, peer: Peer) {
    if !audit.is_on() {
        return;
    }
    let issued = match decision {
        Decision::Issue(served) => Some((served, served.first_use())),
        Decision::Refuse(_) => None,
    };
    let recorded = audit.answered(audit::Answered {
        profile: profile.map(|profile| profile.name.as_str()),
        decision: Decision::NAMES[decision.index()],
        peer,
        given: issued.map(|(served, first)| (served.credential(), first)),
    });
    if let (Some((served, true)), false) = (issued, recorded) {
        served.forget_use();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};
    use crate::credential::fixtures;
    use crate::store::Served;

    #[test]
    fn a_first_use_that_nobody_heard_of_is_told_again() {
        let clock = ManualClock::starting_at(Timestamp::from_secs(1_000_000)).clock();
        let credential = fixtures::session(1, clock.now(), Duration::from_secs(3600));
        let served = Arc::new(Served::new(credential, clock.now()).unwrap());
        let issue = |audit: &Audit| record(audit, None, &Decision::Issue(&served), Peer::Local);
        // Nobody takes its records.
        let (full, _outlet) = Audit::open(&config::Audit::Stdout, clock.clone()).unwrap();
        for _ in 0..5000 {
            full.rotated(&"payments".parse().unwrap(), served.credential());
        }
        issue(&full);
        let (taken, _outlet) = Audit::open(&config::Audit::Stdout, clock).unwrap();
        assert!(served.first_use());
        served.forget_use();
        issue(&taken);
        assert!(!served.first_use());
    }
}
