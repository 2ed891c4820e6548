//! A role for the token of an OIDC issuer: AssumeRoleWithWebIdentity.

use super::{Fetch, Freshness, Source};
use crate::clock::Clock;
use crate::config::source::WebIdentity as Settings;
use crate::failure::{Cause, Failure, Stage};
use crate::metrics::ProfileMetrics;
use crate::sts::Clients;
use crate::transport::TlsError;

const KIND: &str = "web_identity";

/// A role for the token of an OIDC issuer: AssumeRoleWithWebIdentity.
pub struct WebIdentity;

impl WebIdentity {
    /// To be built.
    ///
    /// # Errors
    /// None yet.
    pub fn new(
        settings: &Settings,
        clients: &mut Clients,
        clock: Clock,
        metrics: ProfileMetrics,
    ) -> Result<Self, TlsError> {
        let _ = (settings, clients, clock, metrics);
        Ok(Self)
    }
}

impl Source for WebIdentity {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn fetch(&mut self, _: Freshness) -> Fetch<'_> {
        let failure = Failure::new(Cause::Internal, Stage::Base(KIND), "not built yet");
        Box::pin(std::future::ready(Err(failure)))
    }
}
