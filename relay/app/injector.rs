//! The injector, bound and ready to run: where the API server asks, and where probes and Prometheus
//! do.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::config::environment::Environment;
use crate::config::injector::Injector;
use crate::injector::admin::Admin;
use crate::injector::certificates::{Certificates, CertificatesError};
use crate::injector::{Metrics, Webhook};
use crate::listener::tls::Tls;
use crate::listener::{self, BindError, Limits};
use crate::shutdown;
use crate::transport::Transports;

/// The API server keeps a few connections for each of its replicas.
const CONNECTIONS: usize = 64;

/// The injector, bound; nothing is accepted before [`App::run`].
#[derive(Debug)]
pub struct App {
    webhook: Tls<TcpListener>,
    addresses: Addresses,
    admin: TcpListener,
    certificates: Certificates,
    settings: Arc<Injector>,
    metrics: Metrics,
}

/// Where it listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Where the API server asks.
    pub webhook: SocketAddr,
    /// Where probes and Prometheus ask.
    pub admin: SocketAddr,
}

/// Why the injector could not start.
#[derive(Debug)]
pub enum StartError {
    /// One of its addresses.
    Bind(BindError),
    /// Its certificate.
    Certificates(CertificatesError),
    /// TLS itself, in its own words.
    Tls(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::Certificates(error) => error.fmt(f),
            Self::Tls(error) => write!(f, "TLS cannot be spoken: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Binds both addresses and prepares the certificate. It must be called within a tokio runtime.
///
/// # Errors
/// If an address or a certificate's file cannot be had, or there is no cluster to keep certificates in.
pub fn build(
    settings: Injector,
    environment: &Environment,
    clock: Clock,
) -> Result<App, StartError> {
    let webhook = listener::bind_everywhere("listen", settings.listen).map_err(StartError::Bind)?;
    let admin =
        listener::bind_everywhere("admin.listen", settings.admin).map_err(StartError::Bind)?;
    let addresses = Addresses {
        webhook: webhook.local_addr().unwrap_or(settings.listen),
        admin: admin.local_addr().unwrap_or(settings.admin),
    };
    let certificates =
        Certificates::prepare(&settings.certificates, environment, &Transports::default(), clock)
            .map_err(StartError::Certificates)?;
    let webhook = Tls::new(webhook, certificates.current())
        .map_err(|error| StartError::Tls(error.to_string()))?;
    let (settings, metrics) = (Arc::new(settings), Metrics::default());
    Ok(App { webhook, addresses, admin, certificates, settings, metrics })
}

impl App {
    /// Where it listens, with the ports that the kernel chose.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Runs until `stop` is ready, then goes on answering for `drain`, while the API server learns that
    /// this replica is gone. Once `hurry` is ready it ends at once.
    pub async fn run(
        self,
        stop: impl Future<Output = ()>,
        hurry: impl Future<Output = ()>,
        drain: Duration,
    ) {
        let Addresses { webhook, admin } = self.addresses;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            webhook = format!("https://{webhook}"),
            admin = format!("http://{admin}"),
            "listening"
        );
        let (trigger, signal) = shutdown::channel();
        let service = Webhook::new(self.settings, self.metrics.clone());
        let limits = || Limits::uncounted(CONNECTIONS);
        let webhook = listener::serve(vec![self.webhook], service, limits(), signal.clone());
        let service = Admin::new(self.metrics, self.certificates.status());
        let admin = listener::serve(vec![self.admin], service, limits(), signal);
        let served = async { tokio::join!(webhook, admin, self.certificates.run()) };
        let end = async {
            stop.await;
            tracing::info!("stopping");
            tokio::select! {
                () = trigger.drain_then_stop(drain) => {}
                () = hurry => {}
            }
        };
        tokio::select! {
            _ = served => {}
            () = end => {}
        }
        tracing::info!("stopped");
    }
}
