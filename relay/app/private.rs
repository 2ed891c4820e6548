//! One profile on an endpoint of its own, for one program: no admin listeners, and no file but the
//! access token's.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::StartError;
use super::assemble::{self, NEW_KEYS, Workshop};
use super::profiles::{Profiles, Update};
use crate::audit::Audit;
use crate::clock::Clock;
use crate::config::values::ProfileName;
use crate::config::{self, LeasesAtEnd, PropagationCheck};
use crate::failure::{Cause, Outlook};
use crate::metrics::Metrics;
use crate::store::Snapshot;
use crate::{endpoint, shutdown};

/// A program and what it starts hold a few connections each.
const CONNECTIONS: usize = 128;

/// A profile's endpoint, bound and ready to run.
pub struct Private {
    endpoint: endpoint::Bound,
    profiles: Profiles,
    first: Update,
    name: ProfileName,
    patience: Duration,
    clock: Clock,
    metrics: Metrics,
    leases: LeasesAtEnd,
}

/// The same as it runs: drop it, and everything ends at once.
pub struct Running {
    address: SocketAddr,
    name: ProfileName,
    patience: Duration,
    profiles: Profiles,
    leases: LeasesAtEnd,
    _listener: JoinSet<()>,
    _signal: shutdown::Trigger,
}

/// Binds a free port of 127.0.0.1 and prepares the profile, whose access token will stand in
/// `token_file`. It must be called within a tokio runtime.
///
/// # Errors
/// If no port, the access token's file or a CA file cannot be had.
pub fn build(
    (name, settings): (&ProfileName, &config::Profile),
    token_file: PathBuf,
    leases: LeasesAtEnd,
    clock: Clock,
) -> Result<Private, StartError> {
    let endpoint = config::Endpoint {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        hosts: Vec::new(),
        max_connections: CONNECTIONS,
    };
    let endpoint = endpoint::bind(&endpoint).map_err(StartError::Endpoint)?;
    let metrics = Metrics::new();
    let workshop = Workshop::new(clock.clone(), metrics.clone(), &endpoint.addresses());
    let mut profiles = Profiles::new(workshop);
    let settings = config::Profile {
        access: config::Access {
            token_file,
            more_token_files: Vec::new(),
            token_digests: Vec::new(),
        },
        credentials_file: None,
        ..settings.clone()
    };
    let patience = patience(&settings);
    let wanted = [(name.clone(), settings)].into();
    let first = profiles.prepare(&wanted).map_err(StartError::Profile)?;
    Ok(Private { endpoint, profiles, first, name: name.clone(), patience, clock, metrics, leases })
}

/// How long the first credential may take: one attempt, and the trial of new keys if there is one.
fn patience(settings: &config::Profile) -> Duration {
    let trial = match settings.propagation {
        PropagationCheck::Off => Duration::ZERO,
        PropagationCheck::On { .. } => NEW_KEYS,
    };
    assemble::attempt_timeout(settings).saturating_add(trial)
}

impl Private {
    /// Starts to serve and to rotate.
    pub fn start(self) -> Running {
        let (trigger, signal) = shutdown::channel();
        let address = self.endpoint.addresses().first().copied();
        let mut profiles = self.profiles;
        let mut listener = JoinSet::new();
        let directory = profiles.for_endpoint();
        listener.spawn(self.endpoint.serve(
            directory,
            self.clock,
            &self.metrics,
            Audit::Off,
            signal,
        ));
        profiles.commit(self.first);
        Running {
            address: address.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into()),
            name: self.name,
            patience: self.patience,
            profiles,
            leases: self.leases,
            _listener: listener,
            _signal: trigger,
        }
    }
}

impl Running {
    /// Where the profile's credentials are.
    pub fn url(&self) -> String {
        format!("http://{}/v1/credentials/{}", self.address, self.name)
    }

    /// Waits for the first credential.
    ///
    /// # Errors
    /// Why there is none: at once where somebody must act, else after as long as an attempt may take.
    pub async fn ready(&self) -> Result<(), String> {
        let Some(mut reader) = self.profiles.reader(&self.name) else {
            return Err("the profile is served no longer".to_owned());
        };
        let settled = reader.until(|snapshot| match snapshot {
            Snapshot::Pending => false,
            Snapshot::Available(..) => true,
            Snapshot::Unavailable(failure) => {
                failure.cause == Cause::NotConfigured
                    || failure.cause.outlook() == Outlook::Permanent
            }
        });
        // Either way the state of then is what counts.
        let _ = timeout(self.patience, settled).await;
        match &*reader.borrow() {
            Snapshot::Available(..) => Ok(()),
            Snapshot::Unavailable(failure) => Err(failure.to_string()),
            Snapshot::Pending => {
                Err(format!("no credential came within {} s", self.patience.as_secs()))
            }
        }
    }

    /// Ends the rotation, and revokes what is held at an upstream where the configuration says so.
    pub async fn end(self) {
        self.profiles.end(self.leases, std::future::pending()).await;
    }
}
