//! An endpoint that speaks as the relay's own does: EKS Pod Identity's agent, ECS's.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Fetch, Freshness, Source};
use crate::clock::Clock;
use crate::config::source::Container as Settings;
use crate::failure::{Cause, Failure, Stage};
use crate::metrics::ProfileMetrics;
use crate::transport::{TlsError, Transports};

const KIND: &str = "container";

/// An endpoint that speaks as the relay's own does: EKS Pod Identity's agent, ECS's.
pub struct Container;

impl Container {
    /// To be built.
    ///
    /// # Errors
    /// None yet.
    pub fn new(
        settings: &Settings,
        transports: &Transports,
        own: Arc<[SocketAddr]>,
        clock: Clock,
        metrics: ProfileMetrics,
    ) -> Result<Self, TlsError> {
        let _ = (settings, transports, own, clock, metrics);
        Ok(Self)
    }
}

impl Source for Container {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn fetch(&mut self, _: Freshness) -> Fetch<'_> {
        let failure = Failure::new(Cause::Internal, Stage::Base(KIND), "not built yet");
        Box::pin(std::future::ready(Err(failure)))
    }
}
