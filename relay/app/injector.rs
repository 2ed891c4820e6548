//! The injector, bound and ready to run: where the API server asks, and where probes and Prometheus
//! do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::config::injector::Injector;
use crate::injector::admin::{Admin, Readiness};
use crate::injector::{Metrics, Webhook};
use crate::listener::{self, Accept, BindError, Limits};
use crate::shutdown;

/// The API server keeps a few connections for each of its replicas.
const CONNECTIONS: usize = 64;

/// The injector, bound; nothing is accepted before [`App::run`].
#[derive(Debug)]
pub struct App {
    webhook: TcpListener,
    admin: TcpListener,
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

/// Binds both addresses. It must be called within a tokio runtime.
///
/// # Errors
/// If one of them cannot be had.
pub fn build(settings: Injector) -> Result<App, BindError> {
    let webhook = listener::bind_everywhere("listen", settings.listen)?;
    let admin = listener::bind_everywhere("admin.listen", settings.admin)?;
    Ok(App { webhook, admin, settings: Arc::new(settings), metrics: Metrics::default() })
}

impl App {
    /// Where it listens, with the ports that the kernel chose.
    pub fn addresses(&self) -> Addresses {
        let Injector { listen, admin, .. } = &*self.settings;
        Addresses {
            webhook: self.webhook.local_addr().unwrap_or(*listen),
            admin: self.admin.local_addr().unwrap_or(*admin),
        }
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Runs until `stop` is ready, then goes on answering for `drain`, while the API server learns that
    /// this replica is gone. Once `hurry` is ready it ends at once. `secure` makes TLS of the
    /// webhook's connections, and `readiness` says whether it can.
    pub async fn run<L: Accept>(
        self,
        secure: impl FnOnce(TcpListener) -> L,
        readiness: impl Fn() -> Readiness + Send + Sync + 'static,
        stop: impl Future<Output = ()>,
        hurry: impl Future<Output = ()>,
        drain: Duration,
    ) {
        let Addresses { webhook, admin } = self.addresses();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            webhook = %webhook,
            admin = format!("http://{admin}"),
            "listening"
        );
        let (trigger, signal) = shutdown::channel();
        let service = Webhook::new(self.settings, self.metrics.clone());
        let limits = || Limits::uncounted(CONNECTIONS);
        let webhook =
            listener::serve(vec![secure(self.webhook)], service, limits(), signal.clone());
        let service = Admin::new(self.metrics, readiness);
        let admin = listener::serve(vec![self.admin], service, limits(), signal);
        let served = async { tokio::join!(webhook, admin) };
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
