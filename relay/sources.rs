//! Sources: where a profile's base credentials come from.

#[cfg(not(feature = "host"))]
pub mod absent;
mod agent;
pub mod auto;
pub mod container;
mod document;
pub mod fixed;
mod headers;
pub mod imds;
#[cfg(feature = "host")]
mod last_words;
#[cfg(test)]
mod loopback;
mod material;
mod own;
#[cfg(feature = "host")]
pub mod process;
mod process_document;
#[cfg(feature = "host")]
pub mod profile;
#[cfg(feature = "host")]
mod program;
pub mod roles_anywhere;
pub mod vault;
pub mod web_identity;

use std::pin::Pin;

use crate::credential::{AccessKeyId, Credential};
use crate::failure::Failure;

/// What a fetch may fall back on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Parts that are still fresh may be used again: a hop's base, a session at the upstream.
    Reuse,
    /// Every part must be fetched anew: somebody said that the present keys have leaked. A chain
    /// remembers it until its base has given new ones.
    Anew,
}

/// The answer of a fetch that is under way.
pub type Fetch<'a> = Pin<Box<dyn Future<Output = Result<Credential, Failure>> + Send + 'a>>;

/// A wait for keys that may be dead.
pub type Suspect<'a> = Pin<Box<dyn Future<Output = AccessKeyId> + Send + 'a>>;

/// Gives credentials. A chain is one too, over its base.
///
/// `fetch` takes `&mut self`, so one flight at a time is a matter of types. What several sources
/// share (a login, a connection) stands behind their own `Arc`. A fetch must be safe to drop at
/// any await: a shutdown or a timeout does so.
pub trait Source: Send {
    /// What it is, for logs and metrics: `environment`, `file`, `vault`…
    fn kind(&self) -> &'static str;

    /// Asks for credentials.
    ///
    /// # Errors
    /// A [`Failure`] that says what to do next, with a reason that holds no secret.
    fn fetch(&mut self, freshness: Freshness) -> Fetch<'_>;

    /// Which of several ways gave the last credentials, where there are several.
    fn way(&self) -> Option<&'static str> {
        None
    }

    /// Waits until it is learnt that keys which were given may have died before their time, and
    /// says which: each is told once. Most keys die at their time alone. It must be safe to drop.
    fn suspect(&mut self) -> Suspect<'_> {
        Box::pin(std::future::pending())
    }
}
