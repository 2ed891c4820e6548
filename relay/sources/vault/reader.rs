//! Asking by the session's token: what a refused token means is dealt with here, once.

use std::sync::Arc;

use rustify::endpoint::Endpoint;
use serde::de::DeserializeOwned;

use super::client::{Call, Operation, Refusal};
use super::errors::{self, Context};
use super::leases::Leases;
use super::session::{Need, Session, Token, Verdict};
use super::wire::Answer;
use crate::clock::{Clock, Moment};
use crate::config::values::VaultNamespace;
use crate::failure::Failure;
use crate::metrics::ProfileMetrics;

/// What every read of one profile is made with.
pub(super) struct Reader {
    pub(super) session: Session,
    pub(super) namespace: VaultNamespace,
    pub(super) leases: Leases,
    pub(super) clock: Clock,
    pub(super) metrics: ProfileMetrics,
}

/// An answer, and what its life is reckoned from.
pub(super) struct Read<T> {
    pub(super) answer: Answer<T>,
    pub(super) token: Arc<Token>,
    /// When the request began: lives are reckoned from there (upstreams section 1).
    pub(super) started: Moment,
}

impl Reader {
    /// Asks with a token that is good for `need`. Where Vault does not know the token (any longer),
    /// it asks once more with a new one.
    ///
    /// # Errors
    /// What Vault said; or why there is no token.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        need: Need,
        operation: Operation,
        endpoint: &impl Endpoint,
    ) -> Result<Result<Read<T>, Refusal>, Failure> {
        let token = self.session.token(need, &self.metrics).await?;
        let refusal = match self.read_as(token.clone(), operation, endpoint).await {
            Err(refusal) if refusal.is_forbidden() => refusal,
            done => return Ok(done),
        };
        let certainly = errors::says_invalid_token(&refusal);
        match self.session.refused(&token, certainly, &self.metrics).await? {
            Verdict::Policy => Ok(Err(refusal)),
            Verdict::Token => {
                let token = self.session.token(need, &self.metrics).await?;
                Ok(self.read_as(token, operation, endpoint).await)
            }
            Verdict::Unclear => {
                let another = self.session.token(need, &self.metrics).await?;
                let read = self.read_as(another, operation, endpoint).await;
                match &read {
                    Ok(_) => self.session.settle(&token, false),
                    Err(refusal) if refusal.is_forbidden() => self.session.settle(&token, true),
                    Err(_) => {}
                }
                Ok(read)
            }
        }
    }

    async fn read_as<T: DeserializeOwned>(
        &self,
        token: Arc<Token>,
        operation: Operation,
        endpoint: &impl Endpoint,
    ) -> Result<Read<T>, Refusal> {
        let started = self.clock.now();
        let call = Call {
            operation,
            namespace: &self.namespace,
            token: Some(token.secret()),
            secrets: &[],
            metrics: &self.metrics,
        };
        let answer = self.session.client().call(&call, endpoint).await?;
        Ok(Read { answer, token, started })
    }

    /// What a refusal means.
    pub(super) fn explain(&self, refusal: &Refusal) -> Failure {
        let settings = self.session.client().settings();
        errors::explain(refusal, &Context::of_secrets(settings, &self.namespace))
    }
}
