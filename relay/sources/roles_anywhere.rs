//! A role for a certificate: IAM Roles Anywhere.

use super::{Fetch, Freshness, Source};
use crate::clock::Clock;
use crate::config::source::RolesAnywhere as Settings;
use crate::failure::{Cause, Failure, Stage};
use crate::metrics::ProfileMetrics;
use crate::transport::{TlsError, Transports};

const KIND: &str = "roles_anywhere";

/// A role for a certificate: IAM Roles Anywhere.
pub struct RolesAnywhere;

impl RolesAnywhere {
    /// To be built.
    ///
    /// # Errors
    /// None yet.
    pub fn new(
        settings: &Settings,
        transports: &Transports,
        clock: Clock,
        metrics: ProfileMetrics,
    ) -> Result<Self, TlsError> {
        let _ = (settings, transports, clock, metrics);
        Ok(Self)
    }
}

impl Source for RolesAnywhere {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn fetch(&mut self, _: Freshness) -> Fetch<'_> {
        let failure = Failure::new(Cause::Internal, Stage::Base(KIND), "not built yet");
        Box::pin(std::future::ready(Err(failure)))
    }
}
