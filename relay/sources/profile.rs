//! A profile of the SDKs' shared configuration and credentials files.

use super::{Fetch, Freshness, Source};
use crate::clock::Clock;
use crate::config::source::SharedProfile as Settings;
use crate::failure::{Cause, Failure, Stage};
use crate::transport::{TlsError, Transports};

const KIND: &str = "profile";

/// A profile of the SDKs' shared configuration and credentials files.
pub struct SharedProfile;

impl SharedProfile {
    /// To be built.
    ///
    /// # Errors
    /// None yet.
    pub fn new(
        settings: &Settings,
        transports: &Transports,
        clock: Clock,
    ) -> Result<Self, TlsError> {
        let _ = (settings, transports, clock);
        Ok(Self)
    }
}

impl Source for SharedProfile {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn fetch(&mut self, _: Freshness) -> Fetch<'_> {
        let failure = Failure::new(Cause::Internal, Stage::Base(KIND), "not built yet");
        Box::pin(std::future::ready(Err(failure)))
    }
}
