//! Vault's AWS secrets engine: credentials that Vault makes, leases that end, and the session by
//! which they are asked for.

mod client;
mod errors;
mod login;
mod session;
mod wire;

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::vault::Vault;
use crate::transport::{Security, TlsError, Transports};

use client::Client;
pub use login::Ambient;
use session::Session;

/// The sessions that are in use: profiles with equal settings share one.
#[derive(Debug, Default)]
pub struct Vaults(Vec<(Arc<Vault>, Arc<Session>)>);

impl Vaults {
    /// The session for these settings; one that exists is shared. `ambient` is what its login takes
    /// from the relay's surroundings.
    fn session(
        &mut self,
        settings: &Arc<Vault>,
        ambient: impl FnOnce() -> Ambient,
        transports: &mut Transports,
        clock: &Clock,
    ) -> Result<Arc<Session>, TlsError> {
        if let Some((_, shared)) = self.0.iter().find(|(known, _)| known == settings) {
            return Ok(Arc::clone(shared));
        }
        let security = match settings.address.is_plain() {
            true => Security::Plain,
            false => Security::Tls(settings.tls.clone()),
        };
        let client = Client::new(transports.get(security)?, Arc::clone(settings));
        let session = Arc::new(Session::new(client, clock.clone(), ambient()));
        self.0.push((Arc::clone(settings), Arc::clone(&session)));
        Ok(session)
    }
}
