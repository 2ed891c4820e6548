//! The SDKs' own order: the first way that is configured gives the credentials.

use super::{Fetch, Freshness, Source};
use crate::credential::Credential;
use crate::failure::{Cause, Failure, Stage};

const KIND: &str = "auto";

/// Several sources, in order.
pub struct Auto(Box<[Box<dyn Source>]>);

impl Auto {
    /// These, in their order.
    pub fn new(ways: Vec<Box<dyn Source>>) -> Self {
        Self(ways.into())
    }

    /// Only one that is not configured gives way to the next: trouble with the one that is meant
    /// must not end in another identity.
    async fn first(&mut self, freshness: Freshness) -> Result<Credential, Failure> {
        let mut reasons = Vec::new();
        for way in &mut self.0 {
            match way.fetch(freshness).await {
                Err(failure) if failure.cause == Cause::NotConfigured => {
                    reasons.push(format!("{}: {}", way.kind(), failure.reason));
                }
                outcome => return outcome,
            }
        }
        let reason = format!("none of the SDKs' ways is configured ({})", reasons.join("; "));
        Err(Failure::new(Cause::NotConfigured, Stage::Base(KIND), reason))
    }
}

impl Source for Auto {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn fetch(&mut self, freshness: Freshness) -> Fetch<'_> {
        Box::pin(self.first(freshness))
    }
}
