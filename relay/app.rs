//! The composition root: the one module that sees all others and the one that spawns.
//!
//! [`build`] binds and prepares, so that whatever can fail fails before anything runs; [`App::run`]
//! drives what was built.

pub mod assemble;
mod bases;
pub mod injector;
pub mod private;
mod profiles;

use std::fmt;
use std::future::pending;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::config::{Config, ImdsEmulation, LeasesAtEnd};
use crate::metrics::Metrics;
use crate::{admin, endpoint, shutdown};

use assemble::Workshop;
use profiles::{Profiles, Update};

pub use assemble::AssembleError;

/// The relay, bound and ready to run.
pub struct App {
    endpoint: endpoint::Bound,
    imds: Option<endpoint::imds::Bound>,
    admin: admin::Bound,
    /// It goes when the relay ends, however it does, or does not start after all.
    socket: admin::SocketFile,
    profiles: Profiles,
    first: Update,
    clock: Clock,
    metrics: Metrics,
    leases_at_end: LeasesAtEnd,
}

/// Where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Where applications ask: the configured address first, `::1` beside it if it is served.
    pub endpoint: Vec<SocketAddr>,
    /// Where programs ask that speak to the instance metadata service alone, if anywhere.
    pub imds: Option<SocketAddr>,
    /// Where probes and Prometheus ask.
    pub admin: SocketAddr,
    /// Where status and rotate are asked.
    pub socket: PathBuf,
}

/// Why the relay could not start.
#[derive(Debug)]
pub enum StartError {
    /// The endpoint's address.
    Endpoint(crate::listener::BindError),
    /// The listener in the place of the instance metadata service.
    Imds(endpoint::imds::ImdsError),
    /// An admin listener.
    Admin(admin::AdminError),
    /// A profile.
    Profile(AssembleError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(error) => error.fmt(f),
            Self::Imds(error) => error.fmt(f),
            Self::Admin(error) => error.fmt(f),
            Self::Profile(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

/// A part of the relay ended by itself, which only a bug can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Died;

impl fmt::Display for Died {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a part of the relay ended by itself; the log says where it panicked")
    }
}

impl std::error::Error for Died {}

/// Binds every address and prepares every profile. It must be called within a tokio runtime;
/// nothing runs and nothing is accepted before [`App::run`].
///
/// # Errors
/// If an address, an access token's file or a CA file cannot be had.
pub fn build(config: &Config, clock: Clock) -> Result<App, StartError> {
    let endpoint = endpoint::bind(&config.endpoint).map_err(StartError::Endpoint)?;
    let imds = match config.imds_emulation {
        ImdsEmulation::Off => None,
        ImdsEmulation::On { listen, versions } => {
            Some(endpoint::imds::bind(listen, versions).map_err(StartError::Imds)?)
        }
    };
    let (admin, socket) = admin::bind(&config.admin).map_err(StartError::Admin)?;
    let metrics = Metrics::new();
    let mut own = endpoint.addresses();
    own.extend(imds.as_ref().and_then(endpoint::imds::Bound::address));
    let workshop = Workshop::new(clock.clone(), metrics.clone(), &own);
    let mut profiles = Profiles::new(workshop);
    let first = profiles.prepare(&config.profiles).map_err(StartError::Profile)?;
    let leases_at_end = config.leases_at_end;
    Ok(App { endpoint, imds, admin, socket, profiles, first, clock, metrics, leases_at_end })
}

impl App {
    /// Where it listens, with the ports that the kernel chose.
    pub fn addresses(&self) -> Addresses {
        Addresses {
            endpoint: self.endpoint.addresses(),
            imds: self.imds.as_ref().and_then(endpoint::imds::Bound::address),
            admin: self.admin.address(),
            socket: self.socket.path().to_owned(),
        }
    }

    /// Runs until `stop` is ready, then goes on serving for `drain` and ends. Once `hurry` is ready
    /// too the end takes no longer than credentials files need to go, a second at most. Dropping the
    /// future ends everything at once, and leaves those files.
    ///
    /// # Errors
    /// If a part of the relay ended by itself.
    pub async fn run(
        mut self,
        stop: impl Future<Output = ()>,
        hurry: impl Future<Output = ()>,
        drain: Duration,
    ) -> Result<(), Died> {
        let (trigger, signal) = shutdown::channel();
        let addresses = self.addresses();
        self.log_start(&addresses);
        let _socket = self.socket;
        let mut listeners = JoinSet::new();
        listeners.spawn(self.endpoint.serve(
            self.profiles.for_endpoint(),
            self.clock.clone(),
            &self.metrics,
            signal.clone(),
        ));
        if let Some(imds) = self.imds {
            listeners.spawn(imds.serve(
                self.profiles.for_endpoint(),
                self.clock.clone(),
                &self.metrics,
                signal.clone(),
            ));
        }
        listeners.spawn(self.admin.serve(
            self.profiles.for_admin(),
            addresses.endpoint,
            self.clock,
            self.metrics,
            signal,
        ));
        self.profiles.commit(self.first);
        let died = tokio::select! {
            () = stop => false,
            _ = listeners.join_next() => true,
            () = self.profiles.died() => true,
        };
        if died {
            // No keys stay in a file that nobody keeps.
            self.profiles.end(LeasesAtEnd::Left, pending()).await;
            return Err(Died);
        }
        tracing::info!(drain_ms = u64::try_from(drain.as_millis()).unwrap_or(u64::MAX), "stopping");
        let mut hurry = pin!(hurry);
        let drained = async {
            trigger.drain_then_stop(drain).await;
            while listeners.join_next().await.is_some() {}
        };
        let leases = tokio::select! {
            () = drained => self.leases_at_end,
            () = &mut hurry => LeasesAtEnd::Left,
        };
        self.profiles.end(leases, hurry).await;
        tracing::info!("stopped");
        Ok(())
    }

    fn log_start(&self, addresses: &Addresses) {
        let urls: Vec<_> = addresses.endpoint.iter().map(|at| format!("http://{at}")).collect();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            endpoint = urls.first(),
            endpoint_ipv6 = urls.get(1),
            imds = addresses.imds.map(|at| format!("http://{at}")),
            admin = format!("http://{}", addresses.admin),
            socket = %addresses.socket.display(),
            "listening"
        );
    }
}
