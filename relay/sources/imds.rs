//! The instance's role, from its metadata service (IMDSv2).

use super::{Fetch, Freshness, Source};
use crate::clock::Clock;
use crate::config::source::Imds as Settings;
use crate::failure::{Cause, Failure, Stage};
use crate::metrics::ProfileMetrics;
use crate::transport::{TlsError, Transports};

const KIND: &str = "imds";

/// The instance's role, from its metadata service (IMDSv2).
pub struct Imds;

impl Imds {
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

impl Source for Imds {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn fetch(&mut self, _: Freshness) -> Fetch<'_> {
        let failure = Failure::new(Cause::Internal, Stage::Base(KIND), "not built yet");
        Box::pin(std::future::ready(Err(failure)))
    }
}
