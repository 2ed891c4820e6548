//! What a Vault remembers.

use std::collections::BTreeMap;

use super::leases::{Held, Leases};
use super::login::login_path;
use super::settings::{Login, Material, SecretId};
use super::tokens::Tokens;
use super::wrapping::Wrapped;
use super::{Inner, aws};
use crate::clock::Moment;

/// Everything that changes while it runs.
#[derive(Debug)]
pub(super) struct State {
    pub(super) sealed: bool,
    pub(super) logins: Vec<Login>,
    pub(super) tokens: Tokens,
    pub(super) leases: Leases,
    pub(super) wrapped: Vec<Wrapped>,
    pub(super) statics: BTreeMap<String, aws::StaticKeys>,
}

impl State {
    pub(super) fn new(logins: Vec<Login>) -> Self {
        Self {
            sealed: false,
            logins,
            tokens: Tokens::default(),
            leases: Leases::default(),
            wrapped: Vec::new(),
            statics: BTreeMap::new(),
        }
    }

    /// Whether an auth method is mounted where this path, a login's, is. Where none is a login is
    /// like any other request, and wants a token.
    pub(super) fn mounted(&self, path: &str) -> bool {
        let (mount, _) = login_path(path);
        self.logins.iter().any(|login| login.mount == mount)
    }

    pub(super) fn set_login(&mut self, login: Login) {
        self.logins.retain(|held| held.mount != login.mount || held.role != login.role);
        self.logins.push(login);
    }

    pub(super) fn add_secret_id(&mut self, mount: &str, role: &str, id: SecretId) -> Option<()> {
        let mut logins = self.logins.iter_mut();
        let login = logins.find(|login| login.mount == mount && login.role == role)?;
        let Material::AppRole { secret_ids, .. } = &mut login.material else {
            return None;
        };
        secret_ids.push(id);
        Some(())
    }

    /// Removes all tokens, and gives their leases back.
    pub(super) fn revoke_all(&mut self) -> Vec<Held> {
        self.tokens.clear();
        self.leases.take(|_| true)
    }

    /// Removes one token, and gives its leases back.
    pub(super) fn revoke(&mut self, serial: u64) -> Vec<Held> {
        self.tokens.remove(serial);
        self.leases.take(|held| held.token == serial)
    }

    pub(super) fn forget_wrapped(&mut self) {
        self.wrapped.clear();
    }

    /// Removes what has ended by itself. Its keys have ended at AWS by the same clock.
    pub(super) fn sweep(&mut self, now: Moment) {
        self.tokens.sweep(now);
        let tokens = &self.tokens;
        self.leases.take(|held| held.ends.reached(now) || tokens.by_serial(held.token).is_none());
        self.wrapped.retain(|wrapped| !wrapped.ends.reached(now));
    }
}

impl Inner {
    /// Deletes the users of leases that were taken away.
    pub(super) fn end(&self, leases: &[Held]) {
        for key in leases.iter().filter_map(Held::key) {
            self.sts.delete_key(key);
        }
    }
}
