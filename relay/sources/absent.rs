//! The place of a source that this build has not.

use super::{Fetch, Freshness, Source};
use crate::failure::{Cause, Failure, Stage};

/// Gives nothing: the configuration refuses such a source before it gets here.
pub struct Absent(pub &'static str);

impl Source for Absent {
    fn kind(&self) -> &'static str {
        self.0
    }

    fn fetch(&mut self, _: Freshness) -> Fetch<'_> {
        let reason = "this build of the relay has it not";
        let failure = Failure::new(Cause::Misconfigured, Stage::Base(self.0), reason);
        Box::pin(std::future::ready(Err(failure)))
    }
}
