//! One hop: an AssumeRole.

use std::time::Duration;

use aws_sdk_sts::operation::assume_role::builders::AssumeRoleFluentBuilder;
use aws_sdk_sts::types::Tag;

use crate::clock::{Clock, Moment};
use crate::config;
use crate::credential::{Credential, Principal};
use crate::failure::{Cause, Failure, Stage};
use crate::metrics::ProfileMetrics;
use crate::sts::{Clients, Issued, OddLifetime, Shared, options};
use crate::transport::TlsError;

/// The longest that a role may be assumed for by a role session: STS refuses more.
const CHAINED: Duration = Duration::from_secs(3600);

/// One AssumeRole, ready to be called.
pub struct Hop {
    settings: config::Hop,
    number: usize,
    sts: Shared,
    metrics: ProfileMetrics,
    lifetime: OddLifetime,
}

impl Hop {
    /// The `number`-th hop of a chain, counted from 1.
    ///
    /// # Errors
    /// If the hop's CA file cannot be used.
    pub fn new(
        settings: &config::Hop,
        number: usize,
        clients: &mut Clients,
        metrics: ProfileMetrics,
    ) -> Result<Self, TlsError> {
        let sts = clients.get(&settings.sts)?;
        let lifetime = OddLifetime::default();
        Ok(Self { settings: settings.clone(), number, sts, metrics, lifetime })
    }

    /// Assumes the role as `caller`.
    ///
    /// # Errors
    /// With this hop as its stage, and STS's own words, scrubbed, as its reason.
    pub async fn assume(
        &mut self,
        caller: &Credential,
        clock: &Clock,
    ) -> Result<Credential, Failure> {
        let answer = self.call(caller, clock).await;
        match answer {
            Err(failure) if self.must_clamp(&failure) => {
                tracing::warn!(
                    hop = self.number,
                    role = %self.settings.role_arn,
                    "a role session calls this hop, so STS grants 1 h at most: asking for that from now on"
                );
                self.settings.duration = CHAINED;
                self.call(caller, clock).await
            }
            answer => answer,
        }
    }

    /// Whether STS refused for the duration alone. Whether the caller is a role session cannot
    /// always be known before: a source may hand out either.
    fn must_clamp(&self, failure: &Failure) -> bool {
        self.settings.duration > CHAINED
            && failure.cause == Cause::Misconfigured
            && failure.reason.contains("role chaining")
    }

    async fn call(&mut self, caller: &Credential, clock: &Clock) -> Result<Credential, Failure> {
        let request = self.request().customize();
        let answer =
            self.sts.call(caller, clock, |signed| request.config_override(signed).send()).await;
        let result = match answer {
            Ok((output, started)) => self.read(output, started),
            Err((cause, reason)) => Err(Failure::new(cause, self.stage(), reason)),
        };
        let label = result.as_ref().map_or_else(|failure| failure.cause.as_str(), |_| "success");
        self.metrics.upstream_call("sts", "AssumeRole", label);
        result
    }

    fn request(&self) -> AssumeRoleFluentBuilder {
        let hop = &self.settings;
        let transitive: Vec<_> =
            hop.tags.iter().filter(|tag| tag.transitive).map(|tag| tag.key.clone()).collect();
        // Both halves are set, so no tag can fail to build.
        let tags: Vec<_> = hop
            .tags
            .iter()
            .filter_map(|tag| Tag::builder().key(&tag.key).value(&tag.value).build().ok())
            .collect();
        self.sts
            .client()
            .assume_role()
            .role_arn(hop.role_arn.as_str())
            .role_session_name(hop.session_name.as_str())
            .duration_seconds(options::seconds(hop.duration))
            .set_external_id(hop.external_id.as_ref().map(ToString::to_string))
            .set_source_identity(hop.source_identity.as_ref().map(|name| name.as_str().to_owned()))
            .set_policy(hop.policy.as_ref().map(|policy| policy.as_str().to_owned()))
            .set_policy_arns(options::policy_arns(&hop.policy_arns))
            .set_tags(Some(tags).filter(|tags| !tags.is_empty()))
            .set_transitive_tag_keys(Some(transitive).filter(|keys| !keys.is_empty()))
    }

    fn read(
        &mut self,
        output: aws_sdk_sts::operation::assume_role::AssumeRoleOutput,
        started: Moment,
    ) -> Result<Credential, Failure> {
        let stage = self.stage();
        let issued = Issued::read(output.credentials, started)
            .map_err(|garbage| Failure::new(Cause::Transient, stage.clone(), garbage))?;
        let asked = self.settings.duration;
        self.lifetime.look(&issued, asked, &stage);
        Ok(issued.into_credential(asked, Principal::Role(self.settings.role_arn.clone())))
    }

    fn stage(&self) -> Stage {
        Stage::Hop { number: self.number, role: self.settings.role_arn.to_string() }
    }
}
