//! The injector's certificate: from files that somebody else writes, or made and kept in the cluster
//! by the injectors themselves.
//!
//! All replicas share one Secret. Each looks at it and at the caBundle of the webhook configuration,
//! serves what the caBundle trusts, and writes what `decide` says while it holds the Lease.

mod decide;
mod files;
mod issue;
mod keeper;
mod lead;
mod material;
mod objects;
mod pair;

use std::fmt;
use std::path::Path;

use tokio::sync::watch;

use crate::clock::{Clock, Timestamp};
use crate::config::environment::Environment;
use crate::config::injector::Certificates as Settings;
use crate::kubernetes::{ConfigError, Kubernetes, SERVICE_ACCOUNT};
use crate::listener::tls::Current;
use crate::transport::Transports;

use files::{Paths, Watcher};
use keeper::Keeper;

/// How the certificate stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether there has been one that the API servers trust: from then on the replica may be called.
    pub ready: bool,
    /// When what is served ends.
    pub expires: Option<Timestamp>,
}

/// The certificate of one replica, and what keeps it.
pub struct Certificates {
    current: Current,
    status: watch::Receiver<Status>,
    work: Work,
}

enum Work {
    Files(Watcher),
    SelfManaged(Box<Keeper>),
}

/// Why there can be no certificate.
#[derive(Debug)]
pub enum CertificatesError {
    /// Which file is wrong, and how.
    File(String),
    /// There is no API server to keep it at.
    Cluster(ConfigError),
}

impl fmt::Display for CertificatesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(why) => f.write_str(why),
            Self::Cluster(error) => write!(f, "certificates.self_managed: {error}"),
        }
    }
}

impl std::error::Error for CertificatesError {}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificates({:?})", self.current)
    }
}

impl Certificates {
    /// Reads the files, or prepares to ask the API server; nothing runs before [`Self::run`].
    ///
    /// # Errors
    /// If a file is wrong, or this is no pod of a cluster.
    pub fn prepare(
        settings: &Settings,
        environment: &Environment,
        transports: &Transports,
        clock: Clock,
    ) -> Result<Self, CertificatesError> {
        let current = Current::default();
        let (sender, status) = watch::channel(Status::default());
        let work = match settings {
            Settings::Files { cert, key } => {
                let paths = Paths { cert: cert.clone(), key: key.clone() };
                let watcher = Watcher::start(paths, current.clone(), sender, clock);
                Work::Files(watcher.map_err(CertificatesError::File)?)
            }
            Settings::SelfManaged(settings) => {
                let folder = Path::new(SERVICE_ACCOUNT);
                let kubernetes = Kubernetes::in_cluster(environment, folder, transports)
                    .map_err(CertificatesError::Cluster)?;
                Work::SelfManaged(Box::new(Keeper::new(
                    settings.clone(),
                    own_name(environment),
                    kubernetes,
                    clock,
                    current.clone(),
                    sender,
                )))
            }
        };
        Ok(Self { current, status, work })
    }

    /// What handshakes show.
    pub fn current(&self) -> Current {
        self.current.clone()
    }

    /// How it stands, now and later.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Keeps the certificate until it is dropped, which is safe at any time.
    pub async fn run(self) {
        match self.work {
            Work::Files(watcher) => watcher.run().await,
            Work::SelfManaged(keeper) => keeper.run().await,
        }
    }
}

/// What the Lease says of its holder. A pod that starts anew is another one.
fn own_name(environment: &Environment) -> String {
    let pod = environment.get("POD_NAME").unwrap_or("injector");
    format!("{pod}_{:08x}", fastrand::u32(..))
}
