//! STS clients: one for each region, endpoint and CA that is in use, over the shared transports.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_sts::Client;
use aws_sdk_sts::config::retry::RetryConfig;
use aws_sdk_sts::config::timeout::TimeoutConfig;
use aws_sdk_sts::config::{
    AppName, BehaviorVersion, Builder, Config, IdentityCache, Region, StalledStreamProtectionConfig,
};
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use tokio::sync::Semaphore;

use super::{connector, errors};
use crate::clock::{Clock, Moment};
use crate::config::Sts;
use crate::credential::{Credential, Secret};
use crate::failure::Cause;
use crate::transport::{Security, TlsError, Transport, Transports};

/// The SDK's default has no read timeout; upstreams section 4 gives these.
pub(super) const ATTEMPT: Duration = Duration::from_secs(5);
const OPERATION: Duration = Duration::from_secs(15);
const ATTEMPTS: u32 = 3;

/// Calls to one STS at a time: a call takes some 60 kB while it lasts, and STS throttles bursts. At
/// 50 ms a call this makes 160 a second, and only a relay with more profiles than this notices.
const CALLS_AT_ONCE: usize = 8;

/// The clients that are in use.
pub struct Clients {
    transports: Transports,
    clients: Vec<(Sts, Shared)>,
}

/// A client, and the turns of those who share it. An STS that hangs holds up nobody who asks
/// another.
#[derive(Clone, Debug)]
pub struct Shared {
    client: Client,
    turns: Arc<Semaphore>,
}

impl Shared {
    /// The client, for the operation that is to be called.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Makes one call, signed by `caller`, when its turn has come; with the answer comes when it
    /// was begun.
    ///
    /// # Errors
    /// The class of what went wrong, and STS's own words, scrubbed.
    pub async fn call<T, E, F>(
        &self,
        caller: &Credential,
        clock: &Clock,
        send: impl FnOnce(Builder) -> F,
    ) -> Result<(T, Moment), (Cause, String)>
    where
        E: ProvideErrorMetadata + Error + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let answer = self.in_turn(clock, || send(signed_by(caller))).await;
        answer.map_err(|error| errors::explain(&error, caller.secrets()))
    }

    /// Makes one call that nobody signs, when its turn has come; `sent` is the secret that it
    /// carries.
    ///
    /// # Errors
    /// As those of [`Self::call`].
    pub async fn call_unsigned<T, E, F>(
        &self,
        sent: &Secret,
        clock: &Clock,
        send: impl FnOnce() -> F,
    ) -> Result<(T, Moment), (Cause, String)>
    where
        E: ProvideErrorMetadata + Error + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let answer = self.in_turn(clock, send).await;
        answer.map_err(|error| errors::explain(&error, [sent]))
    }

    async fn in_turn<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        clock: &Clock,
        send: impl FnOnce() -> F,
    ) -> Result<(T, Moment), E> {
        // The error says that the semaphore was closed, which nobody does.
        let turn = self.turns.acquire().await.ok();
        let started = clock.now();
        // On the heap for the time of the call alone: it is large, and many wait for their turn.
        let answer = Box::pin(send()).await;
        drop(turn);
        answer.map(|output| (output, started))
    }
}

impl Clients {
    /// None yet; they will send by these.
    pub fn new(transports: Transports) -> Self {
        Self { transports, clients: Vec::new() }
    }

    /// The client for these settings; one that exists is shared.
    ///
    /// # Errors
    /// If the CA file cannot be used.
    pub fn get(&mut self, settings: &Sts) -> Result<Shared, TlsError> {
        if let Some((_, shared)) = self.clients.iter().find(|(known, _)| known == settings) {
            return Ok(shared.clone());
        }
        let security = Security::of(settings.endpoint.as_ref(), settings.ca_cert.as_ref());
        let transport = self.transports.get(security)?;
        let client = Client::from_conf(configure(settings, transport));
        let turns = Arc::new(Semaphore::new(CALLS_AT_ONCE));
        let shared = Shared { client, turns };
        self.clients.push((settings.clone(), shared.clone()));
        Ok(shared)
    }
}

fn configure(settings: &Sts, transport: Transport) -> Config {
    let mut builder = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(settings.region.as_str().to_owned()))
        .http_client(connector::http_client(transport))
        .retry_config(retries())
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
    builder.build()
}

/// How often one call is tried.
pub(crate) fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(ATTEMPTS)
}

/// How long one call may take.
pub(crate) fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).operation_timeout(OPERATION).build()
}

/// What a call must have in the place of the client's own configuration to be signed by `caller`.
fn signed_by(caller: &Credential) -> Builder {
    let token = caller.session.token().map(|token| token.expose().to_owned());
    Builder::new().credentials_provider(Credentials::new(
        caller.access_key_id.as_str(),
        caller.secret_access_key.expose(),
        token,
        None,
        "credential-relay",
    ))
}
