//! The composition root: the one module that sees all others and the one that spawns.
//!
//! [`build`] binds and prepares, so that whatever can fail fails before anything runs; [`App::run`]
//! drives what was built.

pub mod assemble;
mod bases;
pub mod injector;
pub mod private;
mod profiles;
pub mod reload;

use std::fmt;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::Configuration;
use crate::audit::{Audit, Outlet};
use crate::clock::Clock;
use crate::config::{self, Config, ImdsEmulation, LeasesAtEnd};
use crate::metrics::Metrics;
use crate::{admin, endpoint, shutdown};

use assemble::Workshop;
use profiles::{Profiles, Update};
use reload::Reloads;

pub use assemble::AssembleError;

/// The relay, bound and ready to run.
pub struct App {
    endpoint: endpoint::Bound,
    imds: Option<endpoint::imds::Bound>,
    admin: admin::Bound,
    /// It goes when the relay ends, however it does, or does not start after all.
    socket: admin::SocketFile,
    live: Live,
    first: Update,
    reloads: Reloads,
    clock: Clock,
    metrics: Metrics,
    audit: Audit,
    outlet: Outlet,
}

/// What a configuration that is read again may change.
struct Live {
    profiles: Profiles,
    leases_at_end: LeasesAtEnd,
    bound: BoundTo,
    state: watch::Sender<Configuration>,
    clock: Clock,
    metrics: Metrics,
}

/// What is bound once, for as long as the relay runs.
#[derive(Debug, PartialEq)]
struct BoundTo {
    endpoint: config::Endpoint,
    imds_emulation: ImdsEmulation,
    admin: config::Admin,
    audit: config::Audit,
    sandbox: config::Sandbox,
}

impl BoundTo {
    fn of(config: &Config) -> Self {
        Self {
            endpoint: config.endpoint.clone(),
            imds_emulation: config.imds_emulation,
            admin: config.admin.clone(),
            audit: config.audit.clone(),
            sandbox: config.sandbox,
        }
    }

    /// The first section that another configuration has otherwise.
    fn differs_from(&self, other: &Self) -> Option<&'static str> {
        let sections = [
            ("endpoint", self.endpoint != other.endpoint),
            ("imds_emulation", self.imds_emulation != other.imds_emulation),
            ("admin", self.admin != other.admin),
            ("audit", self.audit != other.audit),
            ("sandbox", self.sandbox != other.sandbox),
        ];
        sections.iter().find_map(|(name, differs)| differs.then_some(*name))
    }
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
    /// The audit's file.
    Audit(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(error) => error.fmt(f),
            Self::Imds(error) => error.fmt(f),
            Self::Admin(error) => error.fmt(f),
            Self::Profile(error) => error.fmt(f),
            Self::Audit(error) => write!(
                f,
                "audit.to: the file cannot be written: {error}; its folder must be there, and the relay's user must be allowed to write in it"
            ),
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
    let (audit, outlet) = Audit::open(&config.audit, clock.clone()).map_err(StartError::Audit)?;
    let workshop = Workshop::new(clock.clone(), metrics.clone(), &own).recording(audit.clone());
    let mut profiles = Profiles::new(workshop);
    let first = profiles.prepare(&config.profiles).map_err(StartError::Profile)?;
    let live = Live {
        profiles,
        leases_at_end: config.leases_at_end,
        bound: BoundTo::of(config),
        state: watch::Sender::new(Configuration::InUse),
        clock: clock.clone(),
        metrics: metrics.clone(),
    };
    let reloads = Reloads::Never;
    Ok(App { endpoint, imds, admin, socket, live, first, reloads, clock, metrics, audit, outlet })
}

impl App {
    /// The same relay, which takes on what `reloads` brings.
    #[must_use]
    pub fn reloading(self, reloads: Reloads) -> Self {
        Self { reloads, ..self }
    }

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
    /// too the end takes no longer than credentials files need to go, two seconds at most. Dropping the
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
        self.outlet.write();
        let _socket = self.socket;
        let mut listeners = JoinSet::new();
        listeners.spawn(self.endpoint.serve(
            self.live.profiles.for_endpoint(),
            self.clock.clone(),
            &self.metrics,
            self.audit.clone(),
            signal.clone(),
        ));
        if let Some(imds) = self.imds {
            listeners.spawn(imds.serve(
                self.live.profiles.for_endpoint(),
                self.clock.clone(),
                &self.metrics,
                self.audit.clone(),
                signal.clone(),
            ));
        }
        listeners.spawn(self.admin.serve(
            admin::Seen {
                profiles: self.live.profiles.for_admin(),
                configuration: self.live.state.subscribe(),
                endpoint: addresses.endpoint,
            },
            self.clock,
            self.metrics,
            signal,
        ));
        self.live.profiles.commit(self.first);
        let mut stop = pin!(stop);
        let died = loop {
            tokio::select! {
                () = &mut stop => break false,
                _ = listeners.join_next() => break true,
                () = self.live.profiles.died() => break true,
                read = self.reloads.next() => self.reloads.note(self.live.take(read)),
            }
        };
        if died {
            // No keys stay in a file that nobody keeps.
            self.live.profiles.end(LeasesAtEnd::Left, pending()).await;
            self.audit.flush();
            return Err(Died);
        }
        tracing::info!(drain_ms = u64::try_from(drain.as_millis()).unwrap_or(u64::MAX), "stopping");
        let mut hurry = pin!(hurry);
        let drained = async {
            trigger.drain_then_stop(drain).await;
            while listeners.join_next().await.is_some() {}
        };
        let leases = tokio::select! {
            () = drained => self.live.leases_at_end,
            () = &mut hurry => LeasesAtEnd::Left,
        };
        self.live.profiles.end(leases, hurry).await;
        self.audit.flush();
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

impl Live {
    /// Takes on a configuration that was read again, as a whole or not at all, and says whether it did.
    fn take(&mut self, read: Result<Config, String>) -> bool {
        match read.and_then(|config| self.apply(&config)) {
            Ok(()) => {
                self.metrics.configuration_taken();
                self.state.send_replace(Configuration::InUse);
                true
            }
            Err(why) if self.is_known(&why) => false,
            Err(why) => {
                tracing::error!(
                    %why,
                    "the configuration has changed and cannot be used; the relay goes on with the one from before"
                );
                self.metrics.configuration_refused();
                let since = self.clock.now().wall;
                self.state.send_replace(Configuration::Refused { since, why });
                false
            }
        }
    }

    /// Whether it was told already that this is wrong.
    fn is_known(&self, wrong: &str) -> bool {
        matches!(&*self.state.borrow(), Configuration::Refused { why, .. } if why == wrong)
    }

    fn apply(&mut self, config: &Config) -> Result<(), String> {
        if let Some(section) = self.bound.differs_from(&BoundTo::of(config)) {
            return Err(format!(
                "{section}: it has changed, and is bound for as long as the relay runs; restart the relay, or undo that"
            ));
        }
        let update = self.profiles.prepare(&config.profiles).map_err(|error| error.to_string())?;
        self.leases_at_end = config.leases_at_end;
        if update.is_empty() {
            tracing::info!("the configuration was read again: no profile has changed");
            return Ok(());
        }
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let (fresh, gone) = update.in_words();
        tracing::info!(new_or_changed = fresh, gone, "the configuration was read again");
        self.profiles.commit(update);
        Ok(())
    }
}
