//! A session at Vault: one login and its token, shared by every profile with the same settings.

use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use crate::clock::{Clock, Moment};
use crate::credential::Secret;
use crate::failure::Failure;
use crate::metrics::ProfileMetrics;

/// What a read wants of the token that it is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// It must live for the read: what is read does not depend on it.
    Read,
    /// What is read dies with it, so it should live for this long.
    Outlive(Duration),
}

/// When a token ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    At(Moment),
    /// A root token.
    Never,
}

/// A token of Vault's.
#[derive(Debug)]
pub(super) struct Token {
    secret: Secret,
}

impl Token {
    /// What is sent to Vault.
    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Its end as it stands: a renewal moves it.
    pub(super) fn end(&self) -> End {
        End::Never
    }

    /// Whether the relay logged in for it, so that nobody else uses it.
    pub(super) fn is_ours(&self) -> bool {
        true
    }

    /// Whether Vault was found to have revoked it.
    pub(super) fn is_revoked(&self) -> bool {
        false
    }
}

/// One login, its token, and those before it on which leases still hang.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    clock: Clock,
}

impl Session {
    /// A session that has not logged in yet.
    pub(super) fn new(client: Client, clock: Clock) -> Self {
        Self { client, clock }
    }

    /// The Vault.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// A token for one read, by a login or a renewal where that must be. One flight at a time.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn token(
        &self,
        need: Need,
        metrics: &ProfileMetrics,
    ) -> Result<Arc<Token>, Failure> {
        let _ = (need, metrics, &self.clock, Duration::ZERO);
        Ok(Arc::new(Token { secret: Secret::new(String::new()) }))
    }

    /// Vault refused a call with 403. Says whether the token is bad; if it is, it is forgotten and
    /// all who hold leases of it are told.
    pub(super) async fn refused(
        &self,
        token: &Arc<Token>,
        certainly: bool,
        metrics: &ProfileMetrics,
    ) -> Result<Verdict, Failure> {
        let _ = (token, certainly, metrics);
        Ok(Verdict::Policy)
    }

    /// Keeps the session alive where a new login may not be possible, and returns once a token was
    /// found revoked.
    pub(super) async fn revoked(&self, metrics: &ProfileMetrics) {
        let _ = metrics;
        std::future::pending::<()>().await;
    }

    /// Revokes every token that the relay logged in for, and with them their leases.
    pub(super) async fn end(&self) {}
}

/// What a 403 was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The token is good: a policy does not allow the call.
    Policy,
    /// The token is none (any longer).
    Token,
}
