//! The HTTP connectors: which roots they trust, and how much of an answer they take.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_sdk_sts::config::SharedHttpClient;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Connector as Http, tls};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::Mutex;

use super::client::{ATTEMPT, CONNECT};
use crate::config::Sts;
use crate::files;

/// The hops of a chain follow each other at once, and the next rotation is half an hour away: a
/// connection that is kept for longer only takes memory, some 20 kB each.
const POOL_IDLE: Duration = Duration::from_secs(5);
const POOL_CONNECTIONS: usize = 2;

/// A CA bundle is some hundred kilobytes; a larger file is something else.
const LARGEST_BUNDLE: u64 = 8 << 20;

/// An answer of STS has two or three kilobytes. The SDK would read one without end into memory.
const LARGEST_ANSWER: usize = 256 << 10;

/// Which roots are trusted, and whether TLS is spoken at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Trust {
    Plain,
    System,
    File(PathBuf),
}

impl Trust {
    pub(super) fn of(settings: &Sts) -> Self {
        match (&settings.endpoint, &settings.ca_cert) {
            (Some(endpoint), _) if endpoint.is_plain() => Self::Plain,
            (_, Some(file)) => Self::File(file.clone()),
            (_, None) => Self::System,
        }
    }
}

/// One connector that every client of its trust shares. The SDK would build one for each set of
/// timeouts and one to try the configuration, and parse the system's roots each time.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    trust: Trust,
    current: Arc<RwLock<SharedHttpConnector>>,
    /// Held by whoever reads the CA again: a mount that hangs holds up one thread.
    reloading: Arc<Mutex<()>>,
}

impl Connector {
    /// # Errors
    /// If the CA file cannot be used.
    pub(super) fn new(trust: Trust) -> Result<Self, ClientError> {
        let current = Arc::new(RwLock::new(build(&trust)?));
        Ok(Self { trust, current, reloading: Arc::default() })
    }

    /// What the SDK's clients are given.
    pub(super) fn http_client(&self) -> SharedHttpClient {
        let current = Arc::clone(&self.current);
        http_client_fn(move |_, _| current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Reads the CA file again, for a certificate that was not accepted: the CA may have been
    /// renewed. What cannot be used changes nothing. The system's roots are read once a process.
    pub(super) async fn reload(&self) {
        if !matches!(self.trust, Trust::File(_)) {
            return;
        }
        let Self { trust, current, reloading } = self.clone();
        let Ok(turn) = reloading.try_lock_owned() else {
            return;
        };
        let reload = move || {
            match build(&trust) {
                Ok(fresh) => {
                    tracing::info!(?trust, "the CA was read again");
                    *current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
                }
                Err(error) => tracing::error!(%error, "the CA from before stays in use"),
            }
            drop(turn);
        };
        // A panic was told by its hook, and changes nothing.
        let _ = tokio::task::spawn_blocking(reload).await;
    }
}

fn build(trust: &Trust) -> Result<SharedHttpConnector, ClientError> {
    let settings =
        HttpConnectorSettings::builder().connect_timeout(CONNECT).read_timeout(ATTEMPT).build();
    let builder = Http::builder()
        .connector_settings(settings)
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(POOL_CONNECTIONS);
    let store = match trust {
        // Plain http stays on this machine, which a proxy is not.
        Trust::Plain => return Ok(bounded(builder.build_http())),
        Trust::System => tls::TrustStore::default(),
        Trust::File(path) => tls::TrustStore::empty().with_pem_certificate(read_bundle(path)?),
    };
    let context = tls::TlsContext::builder()
        .with_trust_store(store)
        .build()
        .map_err(|error| ClientError::Tls(error.to_string()))?;
    let ring = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
    let secure = builder
        .proxy_config(ProxyConfig::from_env())
        .tls_provider(ring)
        .tls_context(context)
        .build();
    Ok(bounded(secure))
}

/// A connector whose answers end at [`LARGEST_ANSWER`].
fn bounded(connector: Http) -> SharedHttpConnector {
    SharedHttpConnector::new(Bounded(connector))
}

#[derive(Debug)]
struct Bounded(Http);

impl HttpConnector for Bounded {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = self.0.call(request);
        HttpConnectorFuture::new(async move {
            let limit = |body| SdkBody::from_body_1_x(Limited::new(body, LARGEST_ANSWER));
            answer.await.map(|response| response.map(limit))
        })
    }
}

/// Reads a CA bundle and checks each certificate: the SDK panics on one that is malformed.
fn read_bundle(path: &Path) -> Result<Vec<u8>, ClientError> {
    let unusable = |why: String| ClientError::Bundle { path: path.to_owned(), why };
    let pem = files::read(path, LARGEST_BUNDLE).map_err(|error| unusable(error.to_string()))?;
    let mut roots = rustls::RootCertStore::empty();
    for (place, certificate) in CertificateDer::pem_slice_iter(&pem).enumerate() {
        let certificate =
            certificate.map_err(|_| unusable(format!("certificate {} is not PEM", place + 1)))?;
        roots
            .add(certificate)
            .map_err(|error| unusable(format!("certificate {}: {error}", place + 1)))?;
    }
    if roots.is_empty() {
        return Err(unusable("no PEM certificate in it".to_owned()));
    }
    Ok(pem.to_vec())
}

/// Why no client could be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// The CA file cannot be used.
    Bundle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The TLS settings cannot be used.
    Tls(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundle { path, why } => write!(
                f,
                "sts.ca_cert: {} cannot be used: {why}; it must hold the CA's certificates as PEM",
                path.display()
            ),
            Self::Tls(why) => write!(f, "TLS cannot be set up: {why}"),
        }
    }
}

impl std::error::Error for ClientError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_that_is_none_is_refused_before_the_sdk_sees_it() {
        let folder = tempfile::tempdir().unwrap();
        for (text, said) in [
            ("", "no PEM certificate"),
            ("hello", "no PEM certificate"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate 1"),
            ("-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", "certificate 1"),
        ] {
            let path = folder.path().join("ca.pem");
            std::fs::write(&path, text).unwrap();
            let error = read_bundle(&path).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains("sts.ca_cert"), "{error}");
        }
        assert!(read_bundle(Path::new("/no/such/file")).is_err());
    }
}
