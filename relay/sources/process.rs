//! A program that prints a `credential_process` document.

use super::{Fetch, Freshness, Source};
use crate::clock::Clock;
use crate::config::source::Process as Settings;
use crate::failure::{Cause, Failure, Stage};

const KIND: &str = "process";

/// A program that prints a `credential_process` document.
pub struct Process;

impl Process {
    /// To be built.
    ///
    /// # Errors
    /// None yet.
    pub fn new(settings: &Settings, clock: Clock) -> Self {
        let _ = (settings, clock);
        Self
    }
}

impl Source for Process {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn fetch(&mut self, _: Freshness) -> Fetch<'_> {
        let failure = Failure::new(Cause::Internal, Stage::Base(KIND), "not built yet");
        Box::pin(std::future::ready(Err(failure)))
    }
}
