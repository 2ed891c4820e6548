//! Vault's AWS secrets engine: credentials that Vault makes, leases that end, and the session by
//! which they are asked for.

mod client;
mod dynamic;
mod errors;
mod leases;
mod login;
mod making;
mod reader;
mod session;
mod static_role;
#[cfg(all(test, feature = "dev"))]
mod tests;
mod user;
mod wire;

use std::sync::Arc;

use futures_util::future::join_all;

use crate::clock::Clock;
use crate::config::vault::{Vault, VaultRole, VaultSource};
use crate::metrics::ProfileMetrics;
use crate::sources::Source;
use crate::transport::{Security, TlsError, Transports};

use client::Client;
pub use dynamic::Use;
use dynamic::{Dynamic, Role};
use leases::Leases;
pub use login::Ambient;
use reader::Reader;
use session::Session;
use static_role::StaticRole;

/// The sessions that are in use: profiles with equal settings share one.
#[derive(Debug)]
pub struct Vaults {
    transports: Transports,
    clock: Clock,
    sessions: Vec<(Arc<Vault>, Session)>,
    leases: Leases,
}

impl Vaults {
    /// None yet; they will send by these.
    pub fn new(transports: Transports, clock: Clock) -> Self {
        Self { transports, clock, sessions: Vec::new(), leases: Leases::default() }
    }

    /// The source of one profile. `ambient` is what its login takes from the relay's surroundings.
    ///
    /// # Errors
    /// If a file of the TLS settings cannot be used.
    pub fn source(
        &mut self,
        settings: &VaultSource,
        used: Use,
        ambient: Ambient,
        metrics: ProfileMetrics,
    ) -> Result<Box<dyn Source>, TlsError> {
        let reader = Reader {
            session: self.session(&settings.vault, ambient)?,
            namespace: settings.namespace.clone(),
            leases: self.leases.clone(),
            clock: self.clock.clone(),
            metrics,
        };
        let mount = settings.mount.clone();
        Ok(match settings.role.clone() {
            VaultRole::Dynamic { name, ttl, role_arn, session_name, credential_type } => {
                let declared = credential_type;
                let role = Role { mount, name, ttl, role_arn, session_name, declared, used };
                Box::new(Dynamic::new(reader, role))
            }
            VaultRole::Static { name } => Box::new(StaticRole::new(reader, mount, name)),
        })
    }

    /// Revokes what lives: the relay ends, and nobody holds its keys any more. The caller bounds
    /// it.
    pub async fn revoke(&self) {
        let sessions = self.sessions.iter().map(|(_, session)| session.end());
        let leases = self.leases.revoke_one_by_one(self.clock.now());
        tokio::join!(join_all(sessions), leases);
    }

    /// The session for these settings; one that exists is shared.
    fn session(&mut self, settings: &Arc<Vault>, ambient: Ambient) -> Result<Session, TlsError> {
        if let Some((_, shared)) = self.sessions.iter().find(|(known, _)| known == settings) {
            return Ok(shared.clone());
        }
        let security = match settings.address.is_plain() {
            true => Security::Plain,
            false => Security::Tls(settings.tls.clone()),
        };
        let client = Client::new(self.transports.get(security)?, Arc::clone(settings));
        let session = Session::new(client, self.clock.clone(), ambient);
        self.sessions.push((Arc::clone(settings), session.clone()));
        Ok(session)
    }
}
