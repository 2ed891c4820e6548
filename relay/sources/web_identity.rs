//! A role for the token of an OIDC issuer: AssumeRoleWithWebIdentity, which nobody signs, so no other
//! credentials are needed.

mod advice;
mod claims;

use crate::clock::{Clock, Moment};
use crate::config::source::WebIdentity as Settings;
use crate::credential::{Credential, Principal, Secret, scrub};
use crate::failure::{Cause, Failure, Stage};
use crate::metrics::ProfileMetrics;
use crate::sts::{Clients, Issued, OddLifetime, Shared, options};
use crate::transport::TlsError;

use super::{Fetch, Freshness, Source, material};
pub use claims::Claims;

const KIND: &str = "web_identity";
const OPERATION: &str = "AssumeRoleWithWebIdentity";

/// A role for the token of an OIDC issuer.
pub struct WebIdentity {
    settings: Settings,
    sts: Shared,
    clock: Clock,
    metrics: ProfileMetrics,
    lifetime: OddLifetime,
}

/// A token that has the form of one, and what it says of itself.
struct Token {
    text: Secret,
    claims: Claims,
}

impl WebIdentity {
    /// Over the client for these settings.
    ///
    /// # Errors
    /// If the CA file cannot be used.
    pub fn new(
        settings: &Settings,
        clients: &mut Clients,
        clock: Clock,
        metrics: ProfileMetrics,
    ) -> Result<Self, TlsError> {
        let sts = clients.get(&settings.sts)?;
        let lifetime = OddLifetime::default();
        Ok(Self { settings: settings.clone(), sts, clock, metrics, lifetime })
    }

    /// Assumes the role. Where the token is not accepted and another one is in the file by then, that
    /// one is shown too.
    async fn assume(&mut self) -> Result<Credential, Failure> {
        let token = self.token().await?;
        match self.call(&token).await {
            Err(failure) if failure.cause == Cause::StaleCaller => match self.token().await {
                Ok(newer) if !newer.text.matches(token.text.expose().as_bytes()) => {
                    self.call(&newer).await
                }
                Ok(_) | Err(_) => Err(failure),
            },
            outcome => outcome,
        }
    }

    /// Reads the token. What is none is sent to nobody: it may be another secret, in the wrong place.
    ///
    /// The cause is never [`Cause::NotConfigured`], upon which `auto` would go on to another
    /// identity.
    async fn token(&self) -> Result<Token, Failure> {
        let unfit = |why: String| {
            let reason = format!(
                "the web identity token (source.web_identity.token_file, AWS_WEB_IDENTITY_TOKEN_FILE): {why}"
            );
            let failure = Failure::new(Cause::StaleCaller, Stage::Base(KIND), reason);
            failure.advised(advice::TOKEN, advice::FILE)
        };
        let path = &self.settings.token_file;
        let text = material::token(path).await.map_err(unfit)?;
        let claims = Claims::read(&text).ok_or_else(|| {
            unfit(format!(
                "{}: its {} characters are no JWT: three parts of base64url with dots between, the second a JSON object",
                path.display(),
                text.len()
            ))
        })?;
        Ok(Token { text, claims })
    }

    async fn call(&mut self, token: &Token) -> Result<Credential, Failure> {
        let role = &self.settings;
        let request = self
            .sts
            .client()
            .assume_role_with_web_identity()
            .role_arn(role.role_arn.as_str())
            .role_session_name(role.session_name.as_str())
            .web_identity_token(token.text.expose())
            .duration_seconds(options::seconds(role.duration))
            .set_policy(role.policy.as_ref().map(|policy| policy.as_str().to_owned()))
            .set_policy_arns(options::policy_arns(&role.policy_arns));
        let answer = self.sts.call_unsigned(&token.text, &self.clock, || request.send()).await;
        let result = match answer {
            Ok((output, started)) => self.read(output.credentials, started),
            Err((cause, reason)) => Err(refused(cause, reason, token)),
        };
        let label = result.as_ref().map_or_else(|failure| failure.cause.as_str(), |_| "success");
        self.metrics.upstream_call("sts", OPERATION, label);
        result
    }

    fn read(
        &mut self,
        keys: Option<aws_sdk_sts::types::Credentials>,
        started: Moment,
    ) -> Result<Credential, Failure> {
        let stage = Stage::Base(KIND);
        let issued = Issued::read(keys, started)
            .map_err(|garbage| Failure::new(Cause::Transient, stage.clone(), garbage))?;
        let asked = self.settings.duration;
        self.lifetime.look(&issued, asked, &stage);
        Ok(issued.into_credential(asked, Principal::Role(self.settings.role_arn.clone())))
    }
}

/// STS's word on a call. Where it is about the token or who it is for, what the token says of itself
/// is told with it: that is what the trust policy and the OIDC provider must be compared with.
fn refused(cause: Cause, reason: String, token: &Token) -> Failure {
    let advice = advice::on(cause, &reason);
    let reason = match cause {
        Cause::StaleCaller | Cause::Denied => {
            let claims = scrub(&token.claims.to_string(), [&token.text]);
            format!("{reason} (the token is {claims})")
        }
        _ => reason,
    };
    let failure = Failure::new(cause, Stage::Base(KIND), reason);
    match advice {
        Some((layer, fix)) => failure.advised(layer, fix),
        None => failure,
    }
}

impl Source for WebIdentity {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn fetch(&mut self, _: Freshness) -> Fetch<'_> {
        Box::pin(self.assume())
    }
}
