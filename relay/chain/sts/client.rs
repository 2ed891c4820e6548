//! STS clients: one for each region, endpoint and CA that is in use, over one HTTP connector for
//! each CA, so that roots are parsed once and a profile more costs next to nothing.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_sts::Client;
use aws_sdk_sts::config::retry::RetryConfig;
use aws_sdk_sts::config::timeout::TimeoutConfig;
use aws_sdk_sts::config::{
    AppName, BehaviorVersion, Builder, Config, IdentityCache, Region, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpConnector, http_client_fn,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::errors;
use crate::config::Sts;
use crate::credential::{Credential, Session};
use crate::failure::{Cause, Failure, Stage};

/// The SDK's default has no read timeout; upstreams section 4 gives these.
const CONNECT: Duration = Duration::from_secs(3);
const ATTEMPT: Duration = Duration::from_secs(5);
const OPERATION: Duration = Duration::from_secs(15);
const ATTEMPTS: u32 = 3;

/// The hops of a chain follow each other at once, and the next rotation is half an hour away: a
/// connection that is kept for longer only takes memory, some 20 kB each.
const POOL_IDLE: Duration = Duration::from_secs(5);
const POOL_CONNECTIONS: usize = 2;

/// Calls to one STS at a time: a call takes some 60 kB while it lasts, and STS throttles bursts. At
/// 50 ms a call this makes 160 a second, and only a relay with more profiles than this notices.
const CALLS_AT_ONCE: usize = 8;

/// A CA bundle is some hundred kilobytes; a larger file is something else.
const LARGEST_BUNDLE: u64 = 8 << 20;

/// Which roots are trusted, and whether TLS is spoken at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Trust {
    Plain,
    System,
    File(PathBuf),
}

/// The clients that are in use.
#[derive(Default)]
pub struct Clients {
    connectors: HashMap<Trust, SharedHttpClient>,
    clients: Vec<(Sts, Shared)>,
}

/// A client, and the turns of those who share it. An STS that hangs holds up nobody who asks
/// another.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) client: Client,
    turns: Arc<Semaphore>,
}

impl Shared {
    /// Waits for a turn, which lasts until it is dropped.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // The error says that the semaphore was closed, which nobody does.
        self.turns.acquire().await.ok()
    }
}

/// Who a credential is, as GetCallerIdentity says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerIdentity {
    /// The ARN of the user or session.
    pub arn: String,
    /// Its account.
    pub account: String,
}

impl Clients {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The client for these settings; one that exists is shared.
    ///
    /// # Errors
    /// If the CA file cannot be used.
    pub(super) fn get(&mut self, settings: &Sts) -> Result<Shared, ClientError> {
        if let Some((_, shared)) = self.clients.iter().find(|(known, _)| known == settings) {
            return Ok(shared.clone());
        }
        let client = Client::from_conf(self.configure(settings)?);
        let shared = Shared { client, turns: Arc::new(Semaphore::new(CALLS_AT_ONCE)) };
        self.clients.push((settings.clone(), shared.clone()));
        Ok(shared)
    }

    /// Asks who `credential` is. It needs no permission.
    ///
    /// # Errors
    /// STS's own words, scrubbed.
    pub async fn identify(
        &mut self,
        settings: &Sts,
        credential: &Credential,
    ) -> Result<CallerIdentity, Failure> {
        let fail = |cause, reason: String| Failure::new(cause, Stage::Relay, reason);
        let Shared { client, .. } =
            self.get(settings).map_err(|error| fail(Cause::Misconfigured, error.to_string()))?;
        let call = client.get_caller_identity().customize().config_override(signed_by(credential));
        match call.send().await {
            Ok(said) => Ok(CallerIdentity {
                arn: said.arn.unwrap_or_default(),
                account: said.account.unwrap_or_default(),
            }),
            Err(error) => {
                let (cause, reason) = errors::explain(&error, credential);
                Err(fail(cause, reason))
            }
        }
    }

    fn configure(&mut self, settings: &Sts) -> Result<Config, ClientError> {
        let trust = match (&settings.endpoint, &settings.ca_cert) {
            (Some(endpoint), _) if endpoint.is_plain() => Trust::Plain,
            (_, Some(file)) => Trust::File(file.clone()),
            (_, None) => Trust::System,
        };
        let http = match self.connectors.get(&trust) {
            Some(shared) => shared.clone(),
            None => {
                let made = connector(&trust)?;
                self.connectors.insert(trust, made.clone());
                made
            }
        };
        let mut builder = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(settings.region.as_str().to_owned()))
            .http_client(http)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(timeouts())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .identity_cache(IdentityCache::no_cache())
            .use_fips(settings.fips)
            .use_dual_stack(settings.dual_stack);
        if let Ok(name) = AppName::new("credential-relay") {
            builder = builder.app_name(name);
        }
        if let Some(endpoint) = &settings.endpoint {
            builder = builder.endpoint_url(endpoint.as_str());
        }
        Ok(builder.build())
    }
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(OPERATION)
        .build()
}

/// What a call must have in the place of the client's own configuration to be signed by `caller`.
pub(super) fn signed_by(caller: &Credential) -> Builder {
    let token = match &caller.session {
        Session::Token(token) => Some(token.expose().to_owned()),
        Session::None => None,
    };
    Builder::new().credentials_provider(Credentials::new(
        caller.access_key_id.as_str(),
        caller.secret_access_key.expose(),
        token,
        None,
        "credential-relay",
    ))
}

/// One connector that every client shares. The SDK would build one for each set of timeouts and one
/// to try the configuration, and parse the system's roots each time.
fn connector(trust: &Trust) -> Result<SharedHttpClient, ClientError> {
    let settings =
        HttpConnectorSettings::builder().connect_timeout(CONNECT).read_timeout(ATTEMPT).build();
    let builder = Connector::builder()
        .connector_settings(settings)
        .proxy_config(ProxyConfig::from_env())
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(POOL_CONNECTIONS);
    let store = match trust {
        Trust::Plain => {
            let plain = SharedHttpConnector::new(builder.build_http());
            return Ok(http_client_fn(move |_, _| plain.clone()));
        }
        Trust::System => tls::TrustStore::default(),
        Trust::File(path) => tls::TrustStore::empty().with_pem_certificate(read_bundle(path)?),
    };
    let context = tls::TlsContext::builder()
        .with_trust_store(store)
        .build()
        .map_err(|error| ClientError::Tls(error.to_string()))?;
    let ring = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
    let secure = SharedHttpConnector::new(builder.tls_provider(ring).tls_context(context).build());
    Ok(http_client_fn(move |_, _| secure.clone()))
}

/// Reads a CA bundle and checks each certificate: the SDK panics on one that is malformed.
fn read_bundle(path: &Path) -> Result<Vec<u8>, ClientError> {
    let unusable = |why: String| ClientError::Bundle { path: path.to_owned(), why };
    let size = std::fs::metadata(path).map_err(|error| unusable(error.to_string()))?.len();
    if size > LARGEST_BUNDLE {
        return Err(unusable(format!("{size} bytes are more than any bundle has")));
    }
    let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
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
    Ok(pem)
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
