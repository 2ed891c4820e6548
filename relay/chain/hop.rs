//! One hop: an AssumeRole.

use std::time::Duration;

use aws_sdk_sts::operation::assume_role::builders::AssumeRoleFluentBuilder;
use aws_sdk_sts::types::{PolicyDescriptorType, Tag};

use crate::clock::{Clock, Moment, Timestamp};
use crate::config;
use crate::credential::{Credential, Lifetime, Principal, Propagation, Validity};
use crate::failure::{Cause, Failure, Stage};
use crate::metrics::ProfileMetrics;
use crate::sts::{Clients, Issued, Shared};
use crate::transport::TlsError;

/// The longest that a role may be assumed for by a role session: STS refuses more.
const CHAINED: Duration = Duration::from_secs(3600);

/// An answer whose life differs by more than this from what was asked for points at a clock that is
/// wrong, or at an upstream that cuts lives short.
const SUSPICIOUS: Duration = Duration::from_secs(60);

/// One AssumeRole, ready to be called.
pub struct Hop {
    settings: config::Hop,
    number: usize,
    sts: Shared,
    metrics: ProfileMetrics,
    /// Whether the answer's odd lifetime was told already.
    lifetime_told: bool,
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
        Ok(Self { settings: settings.clone(), number, sts, metrics, lifetime_told: false })
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
        let policy_arns: Vec<_> = hop
            .policy_arns
            .iter()
            .map(|arn| PolicyDescriptorType::builder().arn(arn.as_str()).build())
            .collect();
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
            .duration_seconds(i32::try_from(hop.duration.as_secs()).unwrap_or(i32::MAX))
            .set_external_id(hop.external_id.as_ref().map(ToString::to_string))
            .set_source_identity(hop.source_identity.as_ref().map(|name| name.as_str().to_owned()))
            .set_policy(hop.policy.as_ref().map(|policy| policy.as_str().to_owned()))
            .set_policy_arns(Some(policy_arns).filter(|arns| !arns.is_empty()))
            .set_tags(Some(tags).filter(|tags| !tags.is_empty()))
            .set_transitive_tag_keys(Some(transitive).filter(|keys| !keys.is_empty()))
    }

    fn read(
        &mut self,
        output: aws_sdk_sts::operation::assume_role::AssumeRoleOutput,
        started: Moment,
    ) -> Result<Credential, Failure> {
        let issued = Issued::read(output.credentials, started)
            .map_err(|garbage| Failure::new(Cause::Transient, self.stage(), garbage))?;
        let asked = self.settings.duration;
        self.tell_odd_lifetime(issued.expiration, started, asked);
        let life = Lifetime::from_request(started, asked, Some(issued.expiration));
        Ok(Credential {
            access_key_id: issued.access_key_id,
            secret_access_key: issued.secret_access_key,
            session: issued.session,
            validity: Validity::Until(life),
            principal: Principal::Role(self.settings.role_arn.clone()),
            propagation: Propagation::Done,
        })
    }

    fn tell_odd_lifetime(&mut self, expiration: Timestamp, started: Moment, asked: Duration) {
        let wanted = started.wall + asked;
        let off = expiration.saturating_since(wanted).max(wanted.saturating_since(expiration));
        if off > SUSPICIOUS && !self.lifetime_told {
            self.lifetime_told = true;
            tracing::warn!(
                stage = %self.stage(),
                asked_s = asked.as_secs(),
                granted_s = expiration.saturating_since(started.wall).as_secs(),
                "the lifetime that was granted is not what was asked for; if the upstream did not choose it, this machine's clock is wrong"
            );
        }
    }

    fn stage(&self) -> Stage {
        Stage::Hop { number: self.number, role: self.settings.role_arn.to_string() }
    }
}
