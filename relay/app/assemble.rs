//! From a profile's settings to the source that it stands for.

use std::fmt;
use std::time::Duration;

use tokio::time::timeout;

use crate::chain::Chain;
use crate::chain::sts::{Clients, Hop};
use crate::clock::Clock;
use crate::config;
use crate::config::values::ProfileName;
use crate::config::vault::{VaultRole, VaultSource};
use crate::credential::Credential;
use crate::endpoint::access::TokenFileError;
use crate::failure::{Cause, Failure, Stage};
use crate::metrics::Metrics;
use crate::sources::vault::{Use, Vaults};
use crate::sources::{Freshness, Source, fixed};
use crate::transport::{TlsError, Transports};

/// A base has this long to answer, and each hop as long again: STS's own limit is 15 s an
/// operation, and a little more lets its error be the one that is told.
const STAGE_TIMEOUT: Duration = Duration::from_secs(20);

/// What every profile is made with.
pub struct Workshop {
    /// The time.
    pub clock: Clock,
    /// All metrics.
    pub metrics: Metrics,
    /// STS clients, shared by all profiles.
    pub clients: Clients,
    /// Sessions at Vault, shared by all profiles.
    pub vaults: Vaults,
    /// What they and the sources send by.
    pub transports: Transports,
}

/// Why a profile could not be made.
#[derive(Debug)]
pub enum AssembleError {
    /// The access token's file.
    Token(ProfileName, TokenFileError),
    /// The TLS of an upstream.
    Tls {
        /// The profile.
        profile: ProfileName,
        /// The settings that it comes from: `sts` or `vault`.
        of: &'static str,
        /// What is wrong with them.
        error: TlsError,
    },
}

impl fmt::Display for AssembleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(profile, error) => write!(f, "profiles.{profile}: {error}"),
            Self::Tls { profile, of, error } => write!(f, "profiles.{profile}: {of}.{error}"),
        }
    }
}

impl std::error::Error for AssembleError {}

impl Workshop {
    /// A workshop without clients yet.
    pub fn new(clock: Clock, metrics: Metrics) -> Self {
        Self {
            clock,
            metrics,
            clients: Clients::new(),
            vaults: Vaults::default(),
            transports: Transports::default(),
        }
    }

    /// The source of a profile, with its chain.
    ///
    /// # Errors
    /// If a hop's CA file cannot be used.
    pub fn source(
        &mut self,
        name: &ProfileName,
        settings: &config::Profile,
    ) -> Result<Box<dyn Source>, AssembleError> {
        let metrics = self.metrics.profile(name);
        let hops = settings
            .chain
            .iter()
            .enumerate()
            .map(|(place, hop)| {
                Hop::new(hop, place + 1, &mut self.clients, &mut self.transports, metrics.clone())
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| AssembleError::Tls { profile: name.clone(), of: "sts", error })?;
        let base = self.base(name, settings)?;
        Ok(Box::new(Chain::new(base, hops, self.clock.clone())))
    }

    fn base(
        &mut self,
        name: &ProfileName,
        settings: &config::Profile,
    ) -> Result<Box<dyn Source>, AssembleError> {
        Ok(match &settings.source {
            config::Source::Environment => {
                Box::new(fixed::Environment::new(|name| std::env::var(name).ok()))
            }
            config::Source::File { path } => {
                Box::new(fixed::File::new(path.clone(), self.clock.clone()))
            }
            config::Source::Vault(vault) => {
                let used = if settings.chain.is_empty() { Use::Served } else { Use::Chained };
                let metrics = self.metrics.profile(name);
                let Self { vaults, transports, clock, .. } = self;
                vaults.source(vault, used, transports, clock, metrics).map_err(|error| {
                    AssembleError::Tls { profile: name.clone(), of: "vault", error }
                })?
            }
        })
    }
}

/// How long one attempt of a profile may take.
pub fn attempt_timeout(settings: &config::Profile) -> Duration {
    let stages = u32::try_from(settings.chain.len()).unwrap_or(u32::MAX).saturating_add(1);
    STAGE_TIMEOUT.saturating_mul(stages)
}

/// One fetch of a command that runs beside no rotation, within the time that a rotation gives it.
///
/// # Errors
/// The source's own failure, or that it took too long.
pub async fn fetch_once(
    source: &mut dyn Source,
    settings: &config::Profile,
) -> Result<Credential, Failure> {
    let late = |_| Failure::new(Cause::Unreachable, Stage::Relay, "no answer in time");
    timeout(attempt_timeout(settings), source.fetch(Freshness::Reuse)).await.map_err(late)?
}

/// Where a profile's credentials come from, in words.
pub fn origin(settings: &config::Profile) -> String {
    let base = match &settings.source {
        config::Source::Environment => "environment".to_owned(),
        config::Source::File { .. } => "file".to_owned(),
        config::Source::Vault(VaultSource { mount, role, .. }) => match role {
            VaultRole::Dynamic { name, .. } => format!("vault {mount}/{name}"),
            VaultRole::Static { name } => format!("vault {mount}/{name} (static)"),
        },
    };
    match settings.chain.last() {
        None if matches!(settings.long_lived_keys, config::LongLivedKeys::Exchanged { .. }) => {
            format!("{base} -> GetSessionToken")
        }
        None => base,
        Some(last) => format!("{base} -> {} hop(s) -> {}", settings.chain.len(), last.role_arn),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::Environment;
    use crate::config::load;

    #[test]
    fn an_origin_says_which_role_of_which_mount() {
        let text = "
sts: { region: eu-west-1 }
vault: { address: 'https://vault', auth: { kubernetes: { role: relay } } }
profiles:
  file: { source: { file: { path: /keys.json } } }
  static: { source: { vault: { static_role: legacy } }, serve_long_lived_keys: true }
  exchanged: { source: { vault: { mount: team/aws, role: batch } }, get_session_token: {} }
  chained:
    source: { vault: { role: payments } }
    chain: [{ role_arn: 'arn:aws:iam::111122223333:role/hub' }]
";
        let config = load::parse(text, &Environment::default()).unwrap();
        for (name, words) in [
            ("file", "file"),
            ("static", "vault aws/legacy (static)"),
            ("exchanged", "vault team/aws/batch -> GetSessionToken"),
            ("chained", "vault aws/payments -> 1 hop(s) -> arn:aws:iam::111122223333:role/hub"),
        ] {
            assert_eq!(origin(&config.profiles[name]), words);
        }
    }
}
