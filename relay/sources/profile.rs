//! A profile of the SDKs' shared configuration and credentials files.
//!
//! AWS's own provider reads and follows it: keys, roles over other profiles, web identities, SSO. It
//! is made anew at each fetch, since one remembers for ever how its first start failed. A
//! `credential_process` alone is the relay's own to run: that provider gives it no time, leaves it
//! behind where a fetch is given up, and logs what it says.

mod errors;
mod walk;

use aws_config::profile::{ProfileFileCredentialsProvider, ProfileSet};
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as Provided;
use aws_credential_types::provider::{ProvideCredentials, Result as Provision};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_sdk_sts::config::SharedHttpClient;
use aws_types::os_shim_internal::{Env, Fs};
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
use crate::sts;
use crate::transport::{Security, TlsError, Transports};
use walk::Processed;

const KIND: &str = "profile";

/// A profile of the SDKs' shared configuration and credentials files, read at each fetch.
pub struct SharedProfile {
    settings: Settings,
    http: SharedHttpClient,
    clock: Clock,
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
        Ok(Self { settings: settings.clone(), http, clock })
    }

    async fn keys(&self) -> Result<Credential, Failure> {
        let files = self.files();
        let name = self.settings.name.clone().map(Into::into);
        let sections = aws_config::profile::load(&Fs::real(), &Env::real(), &files, name).await;
        let sections = sections.map_err(|error| errors::unread(&error))?;
        let region = region(&sections);
        let process = walk::process(&sections);
        let started = self.clock.now();
        let provided = match &process {
            Some(process) => self.by_process(process, files, region).await?,
            None => self.provider(files, region).provide_credentials().await,
        };
        let keys = provided.map_err(|error| errors::explain(&error, &sections))?;
        // What STS and SSO give is made for this fetch; a program may give what it has kept.
        let made = process.is_none_or(|process| !process.roles.is_empty());
        let life = |end: Timestamp| match made {
            true => Lifetime::from_request(started, end.saturating_since(started.wall), Some(end)),
            false => Lifetime::until(self.clock.now(), end),
        };
        self.taken(&keys, life)
    }

    fn files(&self) -> EnvConfigFiles {
        let Settings { config_file, credentials_file, .. } = &self.settings;
        let mut files = EnvConfigFiles::builder()
            .include_default_config_file(config_file.is_none())
            .include_default_credentials_file(credentials_file.is_none());
        if let Some(path) = config_file {
            files = files.with_file(EnvConfigFileKind::Config, path);
        }
        if let Some(path) = credentials_file {
            files = files.with_file(EnvConfigFileKind::Credentials, path);
        }
        files.build()
    }

    fn provider(
        &self,
        files: EnvConfigFiles,
        region: Option<Region>,
    ) -> ProfileFileCredentialsProvider {
        let config = ProviderConfig::without_region()
            .with_region(region)
            .with_http_client(self.http.clone())
            .with_retry_config(sts::retries())
            .with_timeout_config(sts::timeouts());
        let mut builder = ProfileFileCredentialsProvider::builder()
            .configure(&config)
            .profile_files(files)
            .with_custom_provider("EcsContainer", NotFollowed);
        if let Some(name) = &self.settings.name {
            builder = builder.profile_name(name);
        }
        builder.build()
    }

    /// The keys that a program prints, and the roles that the profiles above it assume with them.
    async fn by_process(
        &self,
        process: &Processed<'_>,
        files: EnvConfigFiles,
        region: Option<Region>,
    ) -> Result<Provision, Failure> {
        let mut keys = self.run(process).await.map_err(|Unfit { cause, reason }| {
            let reason = format!("credential_process of the profile {}: {reason}", process.profile);
            Failure::new(cause, Stage::Base(KIND), reason)
        })?;
        if process.roles.is_empty() {
            return Ok(Ok(keys));
        }
        let mut config = aws_config::defaults(BehaviorVersion::latest())
            .region(aws_config::meta::region::RegionProviderChain::first_try(region))
            .http_client(self.http.clone())
            .retry_config(sts::retries())
            .timeout_config(sts::timeouts())
            .profile_files(files)
            .no_credentials();
        if let Some(name) = &self.settings.name {
            config = config.profile_name(name);
        }
        let config = config.load().await;
        for role in &process.roles {
            let mut builder = AssumeRoleProvider::builder(role.arn).configure(&config);
            builder = builder.session_name(role.session_name.unwrap_or("credential-relay"));
            if let Some(id) = role.external_id {
                builder = builder.external_id(id);
            }
            match builder.build_from_provider(keys).await.provide_credentials().await {
                Ok(assumed) => keys = assumed,
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(keys))
    }

    /// As the SDKs do, a shell reads the command.
    async fn run(&self, process: &Processed<'_>) -> Result<Credentials, Unfit> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", process.command]);
        let printed = program::printed(command, LIMIT).await?;
        let keys = process_document::parse(&printed, self.clock.now())?;
        let expiry = match &keys.validity {
            Validity::Until(life) => Some(life.expiry().wall.into()),
            Validity::Unlimited => None,
        };
        let token = match &keys.session {
            Session::Token(token) => Some(token.expose().to_owned()),
            Session::None => None,
        };
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
            session: match keys.session_token().map(str::trim) {
                Some(token) if !token.is_empty() => Session::Token(Secret::new(token.to_owned())),
                Some(_) | None => Session::None,
            },
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

/// In the place of a container endpoint: where a whole pod has the SDKs' variable for the relay,
/// that is the relay itself.
#[derive(Debug)]
struct NotFollowed;

impl ProvideCredentials for NotFollowed {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        Provided::ready(Err(CredentialsError::invalid_configuration(errors::CONTAINER)))
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
