//! GetCallerIdentity: whose keys are these, and does AWS know them? It needs no permission.

use super::client::{Clients, Shared};
use crate::clock::Clock;
use crate::config;
use crate::credential::Credential;
use crate::failure::{Failure, Stage};
use crate::metrics::ProfileMetrics;
use crate::transport::TlsError;

const OPERATION: &str = "GetCallerIdentity";

/// One GetCallerIdentity, ready to be called.
pub struct Identifier {
    sts: Shared,
    clock: Clock,
    metrics: ProfileMetrics,
}

/// Who a credential is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerIdentity {
    /// The ARN of the user or session.
    pub arn: String,
}

impl Identifier {
    /// Over the client for these settings.
    ///
    /// # Errors
    /// If the CA file cannot be used.
    pub fn new(
        settings: &config::Sts,
        clients: &mut Clients,
        clock: Clock,
        metrics: ProfileMetrics,
    ) -> Result<Self, TlsError> {
        Ok(Self { sts: clients.get(settings)?, clock, metrics })
    }

    /// Asks who `credential` is.
    ///
    /// # Errors
    /// With STS's own words, scrubbed, as its reason.
    pub async fn identify(&self, credential: &Credential) -> Result<CallerIdentity, Failure> {
        let call = self.sts.client().get_caller_identity().customize();
        let answer = self
            .sts
            .call(credential, &self.clock, |signed| call.config_override(signed).send())
            .await;
        let label = answer.as_ref().map_or_else(|(cause, _)| cause.as_str(), |_| "success");
        self.metrics.upstream_call("sts", OPERATION, label);
        match answer {
            Ok((said, _)) => Ok(CallerIdentity { arn: said.arn.unwrap_or_default() }),
            Err((cause, reason)) => Err(Failure::new(cause, Stage::Sts(OPERATION), reason)),
        }
    }
}
