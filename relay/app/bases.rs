//! From the settings of a base to the source that it stands for, and what is known of it before.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::vault::{Login, VaultRole, VaultSource};
use crate::config::{self, Source as Settings};
use crate::credential::Secret;
use crate::metrics::ProfileMetrics;
#[cfg(not(feature = "host"))]
use crate::sources::absent::Absent;
use crate::sources::auto::Auto;
use crate::sources::container::Container;
use crate::sources::imds::Imds;
use crate::sources::roles_anywhere::RolesAnywhere;
use crate::sources::vault::{Ambient, Use, Vaults};
use crate::sources::web_identity::WebIdentity;
use crate::sources::{Source, fixed};
#[cfg(feature = "host")]
use crate::sources::{process::Process, profile::SharedProfile};
use crate::sts::Clients;
use crate::transport::{TlsError, Transports};

/// A base has this long to answer: STS's own limit is 15 s an operation, and a little more lets its
/// error be the one that is told.
pub(super) const STAGE_TIMEOUT: Duration = Duration::from_secs(20);

/// A read from Vault has this many calls before it at most: a renewal that fails, a login and the
/// read itself.
const VAULT_CALLS: u32 = 3;

/// What bases are made with.
pub(super) struct Bases {
    pub(super) clock: Clock,
    pub(super) transports: Transports,
    /// The relay's own endpoint, which it never asks.
    pub(super) own: Arc<[SocketAddr]>,
}

/// What a base is made for.
pub(super) struct For<'a> {
    /// Whether a chain stands on it.
    pub(super) used: Use,
    pub(super) clients: &'a mut Clients,
    pub(super) vaults: &'a mut Vaults,
    pub(super) metrics: ProfileMetrics,
}

impl Bases {
    /// Makes a base.
    ///
    /// # Errors
    /// If a file of its TLS cannot be used; with it comes the section of the settings that it is of.
    pub(super) fn make(
        &self,
        settings: &Settings,
        made_for: &mut For<'_>,
    ) -> Result<Box<dyn Source>, (&'static str, TlsError)> {
        let metrics = made_for.metrics.clone();
        let clock = self.clock.clone();
        let of = |section: &'static str| move |error| (section, error);
        Ok(match settings {
            Settings::Environment => Box::new(fixed::Environment::new(variable)),
            Settings::File { path } => Box::new(fixed::File::new(path.clone(), clock)),
            Settings::Vault(vault) => return self.vault(vault, made_for),
            Settings::WebIdentity(settings) => Box::new(
                WebIdentity::new(settings, made_for.clients, clock, metrics).map_err(of("sts"))?,
            ),
            Settings::Container(settings) => Box::new(
                Container::new(settings, &self.transports, Arc::clone(&self.own), clock, metrics)
                    .map_err(of("container"))?,
            ),
            Settings::Imds(settings) => {
                Box::new(Imds::new(settings, &self.transports, clock, metrics).map_err(of("imds"))?)
            }
            Settings::RolesAnywhere(settings) => Box::new(
                RolesAnywhere::new(settings, &self.transports, clock, metrics)
                    .map_err(of("roles_anywhere"))?,
            ),
            #[cfg(not(feature = "host"))]
            Settings::Profile(_) => Box::new(Absent("profile")),
            #[cfg(not(feature = "host"))]
            Settings::Process(_) => Box::new(Absent("process")),
            #[cfg(feature = "host")]
            Settings::Profile(settings) => Box::new(
                SharedProfile::new(settings, &self.transports, clock).map_err(of("profile"))?,
            ),
            #[cfg(feature = "host")]
            Settings::Process(settings) => Box::new(Process::new(settings, clock)),
            Settings::Auto(ways) => {
                let ways = ways.iter().map(|way| self.make(way, made_for));
                Box::new(Auto::new(ways.collect::<Result<_, _>>()?))
            }
        })
    }

    fn vault(
        &self,
        settings: &VaultSource,
        made_for: &mut For<'_>,
    ) -> Result<Box<dyn Source>, (&'static str, TlsError)> {
        let ambient = self.ambient(&settings.vault.login, made_for)?;
        let metrics = made_for.metrics.clone();
        let made = made_for.vaults.source(settings, made_for.used, ambient, metrics);
        made.map_err(|error| ("vault", error))
    }

    /// What a login to Vault takes from the relay's surroundings.
    fn ambient(
        &self,
        login: &Login,
        made_for: &mut For<'_>,
    ) -> Result<Ambient, (&'static str, TlsError)> {
        Ok(match login {
            Login::Aws { credentials, .. } => {
                Ambient::Credentials(self.make(credentials, made_for)?)
            }
            Login::Token => {
                Ambient::Token(Secret::new(variable("VAULT_TOKEN").unwrap_or_default()).trimmed())
            }
            Login::Kubernetes { .. }
            | Login::AppRole { .. }
            | Login::Jwt { .. }
            | Login::Cert { .. }
            | Login::Userpass { .. }
            | Login::TokenFile { .. } => Ambient::Nothing,
        })
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// How long one answer of a base may take.
pub(super) fn timeout_of(settings: &Settings) -> Duration {
    match settings {
        Settings::Vault(source) => {
            // A login by AWS identity has credentials to fetch before it.
            let login = match &source.vault.login {
                Login::Aws { credentials, .. } => timeout_of(credentials),
                _ => Duration::ZERO,
            };
            source.vault.timeout.saturating_mul(VAULT_CALLS).saturating_add(login)
        }
        Settings::Process(process) => process.timeout.saturating_add(Duration::from_secs(1)),
        // The web identity's token is read again and shown once more where it is not accepted.
        Settings::WebIdentity(_) => STAGE_TIMEOUT.saturating_mul(2),
        // A profile may itself be a chain.
        Settings::Profile(_) => STAGE_TIMEOUT.saturating_mul(3),
        Settings::Auto(ways) => ways.iter().map(timeout_of).sum(),
        Settings::Environment
        | Settings::File { .. }
        | Settings::Container(_)
        | Settings::Imds(_)
        | Settings::RolesAnywhere(_) => STAGE_TIMEOUT,
    }
}

/// Where base credentials come from, in words.
pub(super) fn words(settings: &Settings) -> String {
    match settings {
        Settings::Environment => "environment".to_owned(),
        Settings::File { .. } => "file".to_owned(),
        Settings::Vault(VaultSource { mount, role, .. }) => match role {
            VaultRole::Dynamic { name, .. } => format!("vault {mount}/{name}"),
            VaultRole::Static { name } => format!("vault {mount}/{name} (static)"),
        },
        Settings::WebIdentity(source) => format!("web_identity {}", source.role_arn),
        Settings::Container(source) => {
            let (host, port) = source.uri.host_and_port();
            format!("container {host}:{port}")
        }
        Settings::Imds(source) => format!("imds {}", source.endpoint),
        Settings::RolesAnywhere(source) => format!("roles_anywhere {}", source.role_arn),
        Settings::Profile(source) => {
            format!("profile {}", source.name.as_deref().unwrap_or("of AWS_PROFILE, else default"))
        }
        Settings::Process(source) => format!("process {}", source.program.display()),
        Settings::Auto(ways) => {
            let ways: Vec<_> = ways.iter().map(words).collect();
            format!("auto ({})", ways.join(", else "))
        }
    }
}

/// How a profile uses its base.
pub(super) fn use_of(settings: &config::Profile) -> Use {
    if settings.chain.is_empty() { Use::Served } else { Use::Chained }
}
