//! A profile of the SDKs' shared configuration and credentials files.
//!
//! AWS's own provider follows it, beside the relay's thread: keys, roles over other profiles, web identities, SSO. It
//! is made anew at each fetch, since one remembers for ever how its first start failed. A
//! `credential_process` alone is the relay's own to run: that provider gives it no time, leaves it
//! behind where a fetch is given up, and logs what it says.

mod errors;
mod shared;
mod walk;

use aws_config::profile::{ProfileFileCredentialsProvider, ProfileSet};
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as Provided;
use aws_credential_types::provider::{ProvideCredentials, Result as Provision};
use aws_sdk_sts::config::SharedHttpClient;
use tokio::process::Command;

use super::process_document::{self, Unfit};
use super::{Fetch, Freshness, Source, program};
use crate::clock::{Clock, Timestamp};
use crate::config::Tls;
use crate::config::source::SharedProfile as Settings;
use crate::credential::{
    Credential, KeyIdError, Lifetime, Principal, Propagation, Secret, Session, Validity,
};
use crate::failure::{Cause, Failure, Stage};
use crate::files::Aside;
use crate::sts;
use crate::transport::{Security, TlsError, Transports};
use shared::Shared;
use walk::Processed;

const KIND: &str = "profile";

/// A profile of the SDKs' shared configuration and credentials files, read at each fetch.
pub struct SharedProfile {
    settings: Settings,
    http: SharedHttpClient,
    clock: Clock,
    aside: Aside,
}

impl SharedProfile {
    /// The profile of these settings.
    ///
    /// # Errors
    /// If the CA file cannot be used.
    pub fn new(
        settings: &Settings,
        transports: &Transports,
        clock: Clock,
    ) -> Result<Self, TlsError> {
        let tls = Tls { ca_cert: settings.ca_cert.clone(), ..Tls::default() };
        let secure = transports.get(Security::Tls(tls))?;
        let http = sts::http_client_by_scheme(secure, transports.get(Security::Plain)?);
        Ok(Self { settings: settings.clone(), http, clock, aside: Aside::default() })
    }

    async fn keys(&mut self) -> Result<Credential, Failure> {
        let settings = self.settings.clone();
        let read =
            self.aside.run(move || Shared::read(&settings, |name| std::env::var_os(name))).await;
        let shared = read.map_err(|error| errors::fault(&error))??;
        let sections = shared.sections(&self.name()).await?;
        let process = walk::process(&sections);
        let started = self.clock.now();
        let mut shown = Vec::new();
        let provided = match &process {
            Some(process) => {
                self.by_process(process, &shared, region(&sections), &mut shown).await?
            }
            None => self.by_sdk(&shared, region(&sections)).await?,
        };
        let meant = self.settings.meant;
        let keys =
            provided.map_err(|error| errors::explain(&error, &sections, &shown, &shared, meant))?;
        // What STS and SSO give is made for this fetch; a program may give what it has kept.
        let made = process.is_none_or(|process| !process.roles.is_empty());
        let life = |end: Timestamp| match made {
            true => Lifetime::from_request(started, end.saturating_since(started.wall), Some(end)),
            false => Lifetime::until(self.clock.now(), end),
        };
        self.taken(&keys, life)
    }

    fn name(&self) -> String {
        let of_environment = || std::env::var("AWS_PROFILE").ok().filter(|name| !name.is_empty());
        self.settings.name.clone().or_else(of_environment).unwrap_or_else(|| "default".to_owned())
    }

    /// What AWS's own provider makes of the profile. It reads logins of SSO and tokens of web
    /// identities on the thread that polls it.
    async fn by_sdk(
        &mut self,
        shared: &Shared,
        region: Option<Region>,
    ) -> Result<Provision, Failure> {
        let config = ProviderConfig::without_region()
            .with_region(region)
            .with_http_client(self.http.clone())
            .with_retry_config(sts::retries())
            .with_timeout_config(sts::timeouts());
        let provider = ProfileFileCredentialsProvider::builder()
            .configure(&config)
            .profile_files(shared.texts())
            .profile_name(self.name())
            .with_custom_provider("EcsContainer", NotFollowed(errors::CONTAINER))
            .with_custom_provider("Ec2InstanceMetadata", NotFollowed(errors::INSTANCE))
            .build();
        let provided =
            self.aside.poll(|| async move { provider.provide_credentials().await }).await;
        provided.map_err(|error| errors::fault(&error))
    }

    /// The keys that a program prints, and the roles that the profiles above it assume with them. Those that are `shown` to
    /// STS are added to these.
    async fn by_process(
        &mut self,
        process: &Processed<'_>,
        shared: &Shared,
        region: Option<Region>,
        shown: &mut Vec<Secret>,
    ) -> Result<Provision, Failure> {
        let mut keys = self.run(process).await.map_err(|Unfit { cause, reason }| {
            let reason = format!("credential_process of the profile {}: {reason}", process.profile);
            // There is something to work with, whatever is missing.
            let cause = if cause == Cause::NotConfigured { Cause::Misconfigured } else { cause };
            Failure::new(cause, Stage::Base(KIND), reason)
        })?;
        if process.roles.is_empty() {
            return Ok(Ok(keys));
        }
        let config = aws_config::defaults(BehaviorVersion::latest())
            .region(aws_config::meta::region::RegionProviderChain::first_try(region))
            .http_client(self.http.clone())
            .retry_config(sts::retries())
            .timeout_config(sts::timeouts())
            .profile_files(shared.texts())
            .profile_name(self.name())
            .no_credentials()
            .load()
            .await;
        for role in &process.roles {
            let mut builder = AssumeRoleProvider::builder(role.arn).configure(&config);
            builder = builder.session_name(role.session_name.unwrap_or("credential-relay"));
            if let Some(id) = role.external_id {
                builder = builder.external_id(id);
            }
            let token = keys.session_token().into_iter().chain([keys.secret_access_key()]);
            shown.extend(token.map(|secret| Secret::new(secret.to_owned())));
            match builder.build_from_provider(keys).await.provide_credentials().await {
                Ok(assumed) => keys = assumed,
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(keys))
    }

    /// As the SDKs do, a shell reads the command.
    async fn run(&mut self, process: &Processed<'_>) -> Result<Credentials, Unfit> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", process.command]);
        let printed = program::printed(command, LIMIT, &mut self.aside).await?;
        let keys = process_document::parse(&printed, self.clock.now())?;
        let expiry = keys.validity.expiry().map(|expiry| expiry.wall.into());
        let token = keys.session.token().map(|token| token.expose().to_owned());
        let secret = keys.secret_access_key.expose();
        Ok(Credentials::new(keys.access_key_id.as_str(), secret, token, expiry, KIND))
    }

    /// The SDK's keys as the relay's.
    fn taken(
        &self,
        keys: &Credentials,
        life: impl FnOnce(Timestamp) -> Lifetime,
    ) -> Result<Credential, Failure> {
        let fail = |cause, reason: String| Failure::new(cause, Stage::Base(KIND), reason);
        let now = self.clock.now();
        let access_key_id = keys.access_key_id().trim().parse().map_err(|error: KeyIdError| {
            fail(Cause::Misconfigured, format!("aws_access_key_id: {error}"))
        })?;
        let validity = match keys.expiry() {
            Some(end) => Validity::Until(life(Timestamp::from(end))),
            None => Validity::Unlimited,
        };
        let credential = Credential {
            access_key_id,
            secret_access_key: Secret::new(keys.secret_access_key().trim().to_owned()),
            session: Session::of(
                keys.session_token().map(|token| Secret::new(token.trim().to_owned())),
            ),
            validity,
            principal: Principal::Unknown,
            propagation: Propagation::Done,
        };
        if credential.usable(now) {
            Ok(credential)
        } else {
            Err(fail(
                Cause::StaleCaller,
                "the credentials that it leads to have expired".to_owned(),
            ))
        }
    }
}

/// A `credential_process` has as long as a `process` source by default.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(50);

/// Which STS is asked. The SDK's own search would end at the instance's metadata service, for which
/// it waits for seconds where there is none.
fn region(sections: &ProfileSet) -> Option<Region> {
    let of_environment = |name| std::env::var(name).ok().filter(|region| !region.is_empty());
    of_environment("AWS_REGION")
        .or_else(|| of_environment("AWS_DEFAULT_REGION"))
        .or_else(|| sections.get("region").map(str::to_owned))
        .map(Region::new)
}

/// In the place of a `credential_source` that is refused, with the reason. A container endpoint is
/// the relay itself where a whole pod has the SDKs' variable for it; and the SDK's provider of the
/// instance's role gives keys that have ended an end of its own making.
#[derive(Debug)]
struct NotFollowed(&'static str);

impl ProvideCredentials for NotFollowed {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        Provided::ready(Err(CredentialsError::invalid_configuration(self.0)))
    }
}

impl Source for SharedProfile {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn fetch(&mut self, _: Freshness) -> Fetch<'_> {
        Box::pin(self.keys())
    }
}

#[cfg(test)]
mod tests;
