//! A Vault of the relay's own, beside the embedded STS: the logins, the tokens, the leases and the
//! AWS secrets engine, in the shapes and with the texts of Vault 1.21. What it hands out are keys
//! that the embedded STS knows, and that end there when their lease or their token does.
//!
//! Nothing runs in the background: each token, lease and key knows its end by the clock, so a test
//! that moves the clock needs no request to make it happen.

mod answer;
mod aws;
pub(super) mod demo;
mod faults;
mod leases;
mod ledger;
mod login;
mod request;
mod route;
mod settings;
mod spoil;
mod state;
mod tokens;
mod wrapping;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::{Request, Response};
use ring::rand::SystemRandom;

use super::sts::Sts;
use crate::clock::Clock;
use crate::credential::Secret;
use crate::listener::{Answer, Answered, Closed, Peer};
use request::Asked;
use state::State;

pub use faults::{Canned, Fault, FaultError, FaultKind, Faults};
pub use ledger::{Call, Ledger, Operation};
pub use settings::{
    CredentialType, Grant, Lease, Login, Material, Namespaces, Role, SecretId, Settings,
    StaticRole, TokenKind,
};

/// The upstream; cheap to clone.
#[derive(Clone, Debug)]
pub struct Vault(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    sts: Sts,
    clock: Clock,
    random: SystemRandom,
    state: Mutex<State>,
    faults: Faults,
    ledger: Ledger,
}

impl Vault {
    /// A Vault without tokens, leases and faults, which acts at AWS as the user of `sts`. Both must
    /// go by one clock.
    pub fn new(settings: Settings, sts: Sts, clock: Clock) -> Self {
        let state = State::new(settings.logins.clone());
        Self(Arc::new(Inner {
            settings,
            sts,
            clock,
            random: SystemRandom::new(),
            state: Mutex::new(state),
            faults: Faults::default(),
            ledger: Ledger::default(),
        }))
    }

    /// Its faults, to be changed while it runs.
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// What it was asked so far.
    pub fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// The tokens that are good now.
    pub fn tokens_alive(&self) -> usize {
        let now = self.0.clock.now();
        self.0.state().tokens.alive(now).count()
    }

    /// The users that it made at AWS and that are there still: those of leases that live, and
    /// those that [`Vault::forget`] left behind.
    pub fn users_alive(&self) -> usize {
        self.0.sts.user_names().iter().filter(|name| name.starts_with(aws::USER_PREFIX)).count()
    }

    /// Revokes every token, and with them their leases and users, as an operator can.
    pub fn revoke_all_tokens(&self) {
        let mut state = self.0.state();
        let leases = state.revoke_all();
        self.0.end(&leases);
    }

    /// Restarts with everything lost that was not configured: tokens and leases are gone, and
    /// nobody will ever delete their users.
    pub fn forget(&self) {
        let mut state = self.0.state();
        for key in state.revoke_all().iter().filter_map(leases::Held::key) {
            self.0.sts.end_key_at(key, None);
        }
        state.forget_wrapped();
    }

    /// Seals or unseals it.
    pub fn seal(&self, sealed: bool) {
        self.0.state().sealed = sealed;
    }

    /// Changes what a login takes and gives, or adds a login; by its mount and its role.
    pub fn set_login(&self, login: Login) {
        self.0.state().set_login(login);
    }

    /// A new secret id of an approle, good for so many logins, 0 for any number. `None` if no
    /// approle login has this mount and role.
    pub fn new_secret_id(&self, mount: &str, role: &str, uses: u32) -> Option<Secret> {
        let value = self.0.uuid()?;
        let mut state = self.0.state();
        state.add_secret_id(mount, role, SecretId { value: value.clone(), uses })?;
        Some(value)
    }

    /// Wraps a secret id for `ttl`: the token with which it is unwrapped once. The path at which it
    /// was made is `auth/<mount>/role/<role>/secret-id`, unless a test forges it.
    pub fn wrap(&self, creation_path: &str, secret_id: &Secret, ttl: Duration) -> Option<Secret> {
        self.0.wrap(creation_path, secret_id, ttl)
    }

    /// Rotates a static role's keys now, whatever its period says.
    pub fn rotate(&self, static_role: &str) {
        let now = self.0.clock.now();
        let mut state = self.0.state();
        // Only for want of random numbers, and then the old keys stay.
        let _ = self.0.rotate(&mut state, static_role, now);
    }

    /// Answers one request.
    ///
    /// # Errors
    /// [`Closed`] if a fault wants the connection to be closed without an answer.
    pub async fn respond<B>(&self, request: Request<B>) -> Result<Response<Full<Bytes>>, Closed>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let asked = Asked::read(request, &self.0.settings.mount).await;
        let struck = self.0.faults.draw(&asked.path);
        if !struck.latency.is_zero() {
            tokio::time::sleep(struck.latency).await;
        }
        let (verdict, call) = spoil::answer(&self.0, &asked, &struck);
        self.0.ledger.record(call);
        verdict.carry_out().await
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answer for Vault {
    fn answer(&self, request: Request<Incoming>, _: Peer) -> Answered {
        let vault = self.clone();
        Answered::Later(Box::pin(async move { vault.respond(request).await }))
    }
}

#[cfg(test)]
mod tests;
