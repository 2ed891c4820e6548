//! An endpoint that speaks as the relay's own does: EKS Pod Identity's agent, ECS's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderValue, USER_AGENT};

use super::agent::{Agent, Refusal};
use super::document::{self, Unfit};
use super::material::Material;
use super::own;
use super::{Fetch, Freshness, Source, headers};
use crate::clock::Clock;
use crate::config::source::{Authorization, Container as Settings};
use crate::credential::{Credential, Secret};
use crate::failure::{Cause, Failure};
use crate::metrics::ProfileMetrics;
use crate::transport::{TlsError, Transports};

const KIND: &str = "container";
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";

/// The agent itself asks EKS or STS; a base has 20 s.
const LIMIT: Duration = Duration::from_secs(10);

/// An endpoint that speaks as the relay's own does: EKS Pod Identity's agent, ECS's.
pub struct Container {
    settings: Settings,
    authorization: Carried,
    agent: Agent,
    own: Arc<[SocketAddr]>,
    clock: Clock,
    look_up: fn(&str) -> Option<String>,
}

/// Where what the requests carry is read.
enum Carried {
    Nothing,
    Variable,
    File(Material),
}

impl Container {
    /// The endpoint of these settings, which is none of the relay's `own` addresses.
    ///
    /// # Errors
    /// If it is asked by TLS and there are no roots to trust.
    pub fn new(
        settings: &Settings,
        transports: &Transports,
        own: Arc<[SocketAddr]>,
        clock: Clock,
        metrics: ProfileMetrics,
    ) -> Result<Self, TlsError> {
        let agent = Agent::new(KIND, settings.uri.is_plain(), transports, metrics)?;
        let look_up = |name: &str| std::env::var(name).ok();
        let authorization = match &settings.authorization {
            Authorization::Nothing => Carried::Nothing,
            Authorization::Variable => Carried::Variable,
            Authorization::File(path) => Carried::File(Material::new(path.clone())),
        };
        Ok(Self { settings: settings.clone(), authorization, agent, own, clock, look_up })
    }

    async fn read(&mut self) -> Result<Credential, Failure> {
        let (host, port) = self.settings.uri.host_and_port();
        if own::url_leads_to(&self.own, self.settings.uri.as_str()).await {
            let reason =
                format!("{host}:{port} is the relay itself, which would ask itself for ever");
            return Err(self.agent.fail(Cause::Misconfigured, reason).advised(
                "address",
                "name the agent that is meant in source.container.uri; set AWS_CONTAINER_CREDENTIALS_FULL_URI for the application's container alone",
            ));
        }
        let token = self.token().await?;
        let request = self.request(token.as_ref())?;
        let bare = token.as_ref().map(without_scheme);
        let ids: Vec<_> = self.settings.uri.ids().map(|id| Secret::new(id.to_owned())).collect();
        let sent: Vec<&Secret> = token.iter().chain(&bare).chain(&ids).collect();
        let answer = self.agent.ask("credentials", request, LIMIT, &sent).await;
        let answer = answer.map_err(|refusal| self.refused(&refusal))?;
        document::read(answer.body(), self.clock.now(), &sent).map_err(|unfit| self.unfit(unfit))
    }

    /// What the request carries, read anew: the agents' tokens are rotated.
    async fn token(&mut self) -> Result<Option<Secret>, Failure> {
        let agent = &self.agent;
        let missing = |reason: String| {
            // Whoever mounts the file may be late. It is never a reason for another identity.
            agent.fail(Cause::Transient, format!("the authorization token: {reason}")).advised(
                "token file",
                "mount the agent's token where the setting or AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE names it, readable for the relay: EKS Pod Identity mounts it into every container of a pod that began after its service account was associated",
            )
        };
        match &mut self.authorization {
            Carried::Nothing => Ok(None),
            Carried::Variable => {
                let token = Secret::new((self.look_up)(TOKEN).unwrap_or_default()).trimmed();
                if token.is_empty() {
                    return Err(agent.fail(Cause::Misconfigured, format!("{TOKEN} is blank")));
                }
                Ok(Some(token))
            }
            Carried::File(file) => {
                // It may be a scheme and a token.
                let right = "visible ASCII characters and blanks";
                let allowed = |c: char| c.is_ascii_graphic() || c == ' ';
                file.line(right, allowed).await.map(Some).map_err(missing)
            }
        }
    }

    fn request(&self, token: Option<&Secret>) -> Result<Request<Bytes>, Failure> {
        let mut request = Request::get(self.settings.uri.as_str())
            .header(USER_AGENT, HeaderValue::from_static(headers::AGENT))
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .body(Bytes::new())
            .map_err(|_| self.agent.fail(Cause::Internal, "no request can be made of the URI"))?;
        if let Some(token) = token {
            let value = headers::secret(token).ok_or_else(|| {
                let reason =
                    format!("{TOKEN} has characters that no header can, such as a line's end");
                self.agent.fail(Cause::Misconfigured, reason)
            })?;
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Ok(request)
    }

    fn refused(&self, refusal: &Refusal) -> Failure {
        let (host, port) = self.settings.uri.host_and_port();
        let failure = self.agent.fail(refusal.cause(), format!("{host}:{port}: {refusal}"));
        let (layer, fix) = explain(refusal);
        failure.advised(layer, fix)
    }

    fn unfit(&self, unfit: Unfit) -> Failure {
        match unfit {
            Unfit::Refused { code, message } => {
                let reason = format!("the agent has no credentials: {code}: {message}");
                self.agent.fail(Cause::Transient, reason).advised("agent", AGENTS_LOG)
            }
            Unfit::Garbled(why) => self.agent.fail(Cause::Transient, why).advised(
                "agent",
                "is the URI that of an agent? Something else may answer at that address",
            ),
            Unfit::Expired(end) => {
                let reason =
                    format!("the credentials of the answer ended at {end}; they are not served");
                self.agent.fail(Cause::Transient, reason).advised(
                    "agent",
                    "the agent could not renew what it has, or this machine's clock is wrong: look at the agent's log and at the clock",
                )
            }
        }
    }
}

/// The token of an authorization that may begin with a scheme: an agent may quote it alone.
fn without_scheme(authorization: &Secret) -> Secret {
    let token = authorization.expose().rsplit(' ').next().unwrap_or_default();
    Secret::new(token.to_owned())
}

const AGENTS_LOG: &str = "look at the agent's log on this node (EKS: kubectl -n kube-system logs daemonset/eks-pod-identity-agent)";

/// Where it fails, and what would be right.
fn explain(refusal: &Refusal) -> (&'static str, &'static str) {
    match (refusal, refusal.cause()) {
        (_, Cause::Tls) => (
            "tls",
            "the agent's certificate is not trusted: have its CA among the roots of the system (SSL_CERT_FILE)",
        ),
        (Refusal::NotSent(error), _) if error.may_have_arrived() => ("agent", AGENTS_LOG),
        (Refusal::NotSent(_), _) => (
            "address",
            "does the agent run on this node (EKS: the add-on eks-pod-identity-agent), and may the pod reach it? A NetworkPolicy must allow 169.254.170.23 port 80 (IPv6: fd00:ec2::23; ECS: 169.254.170.2)",
        ),
        (Refusal::Redirected { .. }, _) => {
            ("address", "name the agent's own URL: the token is not sent to another address")
        }
        (_, Cause::Throttled { .. }) => {
            ("agent", "too many pods of this node ask at once: it heals")
        }
        (_, Cause::StaleCaller) => (
            "token",
            "the token is not, or no longer, accepted: is the file the one that EKS mounts (audience pods.eks.amazonaws.com), is it renewed, and is this machine's clock right?",
        ),
        (refusal, _) if refusal.says("ResourceNotFoundException") => (
            "association",
            "no role is associated with the pod's service account: aws eks create-pod-identity-association",
        ),
        (refusal, _) if refusal.says("AccessDenied") => (
            "association",
            "the node's role needs eks-auth:AssumeRoleForPodIdentity, and the role must trust pods.eks.amazonaws.com for sts:AssumeRole and sts:TagSession",
        ),
        (_, Cause::Denied) if refusal.status() == Some(404) => {
            ("address", "there is nothing at this path: correct the URI")
        }
        (_, Cause::Denied) => {
            ("agent", "the agent refuses what was asked: correct the URI or the token")
        }
        _ => ("agent", AGENTS_LOG),
    }
}

impl Source for Container {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn fetch(&mut self, _: Freshness) -> Fetch<'_> {
        Box::pin(self.read())
    }
}

#[cfg(test)]
mod tests;
