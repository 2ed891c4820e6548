//! From a profile's settings to the source that it stands for.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::bases::{self, Bases, For};
use crate::audit::Audit;
use crate::chain::exchange::Exchange;
use crate::chain::hop::Hop;
use crate::chain::{Chain, Step};
use crate::clock::Clock;
use crate::config::values::ProfileName;
use crate::config::{self, LongLivedKeys, PropagationCheck};
use crate::credential::Credential;
use crate::credentials_file::FileError;
use crate::endpoint::access::TokenFileError;
use crate::failure::{Cause, Failure, Stage};
use crate::metrics::Metrics;
use crate::rotation::backoff::Backoff;
use crate::rotation::probe::{Asked, Probe, Proof};
use crate::schedule::Draw;
use crate::sources::vault::Vaults;
use crate::sources::{Freshness, Source};
use crate::sts::{Clients, Identifier};
use crate::transport::{TlsError, Transports};

/// Revoking may hold the end of a pod up for this long (endpoint-contract section 5).
const REVOKE: Duration = Duration::from_secs(2);

/// What every profile is made with.
pub struct Workshop {
    /// The time.
    pub clock: Clock,
    /// All metrics.
    pub metrics: Metrics,
    /// Where rotations are recorded.
    pub audit: Audit,
    /// STS clients, shared by all profiles.
    pub clients: Clients,
    /// Sessions at Vault, shared by all profiles.
    pub vaults: Vaults,
    bases: Bases,
}

/// Why a profile could not be made.
#[derive(Debug)]
pub enum AssembleError {
    /// The access token's file.
    Token(ProfileName, TokenFileError),
    /// The credentials file.
    File(ProfileName, FileError),
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
            Self::File(profile, error) => write!(f, "profiles.{profile}: {error}"),
            Self::Tls { profile, of, error } => write!(f, "profiles.{profile}: {of}.{error}"),
        }
    }
}

impl std::error::Error for AssembleError {}

impl AssembleError {
    fn tls(profile: &ProfileName, of: &'static str, error: TlsError) -> Self {
        Self::Tls { profile: profile.clone(), of, error }
    }
}

impl Workshop {
    /// A workshop without clients yet, for a relay whose own endpoint is at these addresses.
    pub fn new(clock: Clock, metrics: Metrics, own: &[SocketAddr]) -> Self {
        let transports = Transports::default();
        let clients = Clients::new(transports.clone());
        let vaults = Vaults::new(transports.clone(), clock.clone());
        let bases = Bases { clock: clock.clone(), transports, own: own.into() };
        Self { clock, metrics, audit: Audit::Off, clients, vaults, bases }
    }

    /// The same, whose profiles record their rotations there.
    #[must_use]
    pub fn recording(self, audit: Audit) -> Self {
        Self { audit, ..self }
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
        let steps =
            self.steps(name, settings).map_err(|error| AssembleError::tls(name, "sts", error))?;
        let base = self.base(name, settings)?;
        Ok(Box::new(Chain::new(base, steps, self.clock.clone())))
    }

    fn steps(
        &mut self,
        name: &ProfileName,
        settings: &config::Profile,
    ) -> Result<Vec<Step>, TlsError> {
        let metrics = self.metrics.profile(name);
        if let (LongLivedKeys::Exchanged { duration, sts }, []) =
            (&settings.long_lived_keys, &settings.chain[..])
        {
            let exchange = Exchange::new(*duration, sts, &mut self.clients, metrics)?;
            return Ok(vec![Step::Exchange(exchange)]);
        }
        let hops = settings.chain.iter().enumerate();
        hops.map(|(place, hop)| {
            Hop::new(hop, place + 1, &mut self.clients, metrics.clone()).map(Step::Hop)
        })
        .collect()
    }

    /// What new keys of a user must stand before a profile serves them, if anything.
    ///
    /// # Errors
    /// If STS's CA file cannot be used.
    pub fn proof(
        &mut self,
        name: &ProfileName,
        settings: &config::Profile,
    ) -> Result<Option<Proof>, AssembleError> {
        let PropagationCheck::On { successes, settle, sts } = &settings.propagation else {
            return Ok(None);
        };
        let identifier = self.identifier(name, sts)?;
        Ok(Some(Proof { successes: *successes, settle: *settle, probe: Arc::new(identifier) }))
    }

    /// Revokes what lives at an upstream, as far as that is done within 2 s.
    pub async fn revoke(&self) {
        if timeout(REVOKE, self.vaults.revoke()).await.is_err() {
            tracing::warn!("not everything was revoked in time: it ends by itself");
        }
    }

    /// Who asks an STS, for a profile, whose keys these are.
    ///
    /// # Errors
    /// If STS's CA file cannot be used.
    pub fn identifier(
        &mut self,
        name: &ProfileName,
        sts: &config::Sts,
    ) -> Result<Identifier, AssembleError> {
        let metrics = self.metrics.profile(name);
        Identifier::new(sts, &mut self.clients, self.clock.clone(), metrics)
            .map_err(|error| AssembleError::tls(name, "sts", error))
    }

    fn base(
        &mut self,
        name: &ProfileName,
        settings: &config::Profile,
    ) -> Result<Box<dyn Source>, AssembleError> {
        let mut made_for = For {
            used: bases::use_of(settings),
            clients: &mut self.clients,
            vaults: &mut self.vaults,
            metrics: self.metrics.profile(name),
        };
        self.bases
            .make(&settings.source, &mut made_for)
            .map_err(|(of, error)| AssembleError::tls(name, of, error))
    }
}

impl Probe for Identifier {
    fn ask<'a>(&'a self, credential: &'a Credential) -> Asked<'a> {
        Box::pin(async { self.identify(credential).await.map(|_| ()) })
    }
}

/// How long one attempt of a profile may take.
pub fn attempt_timeout(settings: &config::Profile) -> Duration {
    let base = bases::timeout_of(&settings.source);
    let exchanges = matches!(settings.long_lived_keys, LongLivedKeys::Exchanged { .. });
    let steps = settings.chain.len().max(usize::from(exchanges));
    let steps = u32::try_from(steps).unwrap_or(u32::MAX);
    base.saturating_add(bases::STAGE_TIMEOUT.saturating_mul(steps))
}

/// How long a command waits for AWS to know keys that were made for it (upstreams section 1).
pub const NEW_KEYS: Duration = Duration::from_secs(60);

/// One fetch of a command that runs beside no rotation, within the time that a rotation gives it.
/// Where keys of a user that Vault has just made call a step, it is tried again until AWS knows
/// them: the chain keeps the keys, and none other are made.
///
/// # Errors
/// The source's own failure, or that it took too long.
pub async fn fetch_once(
    source: &mut dyn Source,
    settings: &config::Profile,
) -> Result<Credential, Failure> {
    let late = |_| Failure::new(Cause::Unreachable, Stage::Relay, "no answer in time");
    let limit = attempt_timeout(settings);
    let end = Instant::now() + NEW_KEYS;
    let mut backoff = Backoff::default();
    loop {
        let fetched = timeout(limit, source.fetch(Freshness::Reuse)).await.map_err(late)?;
        match fetched {
            Err(failure) if calls_with_new_keys(&failure, settings) && Instant::now() < end => {
                sleep(backoff.after(failure.cause, None, Draw::random())).await;
            }
            outcome => return outcome,
        }
    }
}

fn calls_with_new_keys(failure: &Failure, settings: &config::Profile) -> bool {
    failure.cause == Cause::StaleCaller
        && matches!(settings.source, config::Source::Vault(_))
        && matches!(failure.stage, Stage::Hop { number: 1, .. } | Stage::Sts(_))
}

/// Where a profile's credentials come from, in words.
pub fn origin(settings: &config::Profile) -> String {
    let base = bases::words(&settings.source);
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
