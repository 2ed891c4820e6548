//! The instance's role, from its metadata service (IMDSv2).

mod explain;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Method, Request, Response};

use super::agent::{Agent, Refusal};
use super::document;
use super::own;
use super::{Fetch, Freshness, Source, headers};
use crate::clock::{Clock, Moment};
use crate::config::source::Imds as Settings;
use crate::credential::{Credential, Secret};
use crate::failure::{Cause, Failure};
use crate::metrics::ProfileMetrics;
use crate::transport::{TlsError, Transports};

const KIND: &str = "imds";

/// The service is on the machine's own link, and answers within milliseconds or not at all. A fetch
/// has three questions, and a base 20 s.
const LIMIT: Duration = Duration::from_secs(1);
const TRIES: u32 = 2;

/// The longest that the service gives a token for (EC2's user guide): 6 h.
const TOKEN_TTL: Duration = Duration::from_secs(21_600);

/// Tokens have 56 characters; others are let pass up to here.
const LONGEST_TOKEN: usize = 4096;

const TOKENS: &str = "/latest/api/token";
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";

const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");

/// The instance's role, from its metadata service (IMDSv2).
pub struct Imds {
    endpoint: Box<str>,
    own: Arc<[SocketAddr]>,
    agent: Agent,
    clock: Clock,
    token: Option<Token>,
}

/// What the service is asked with.
struct Token {
    secret: Secret,
    /// Another is asked for from here on.
    due: Moment,
}

/// What is asked of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Token,
    Role,
    Credentials,
}

impl Operation {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Role => "role",
            Self::Credentials => "credentials",
        }
    }
}

/// Why there are no credentials.
enum Trouble {
    /// The service refused, or did not answer.
    Refused(Operation, Refusal),
    /// What it answered is of no use.
    Other(Failure),
}

impl Imds {
    /// The service of these settings, which is none of the relay's `own` addresses.
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
        let endpoint = settings.endpoint.as_str().trim_end_matches('/').into();
        let agent = Agent::new(KIND, settings.endpoint.is_plain(), transports, metrics)?;
        Ok(Self { endpoint, own, agent, clock, token: None })
    }

    async fn read(&mut self, freshness: Freshness) -> Result<Credential, Failure> {
        if own::url_leads_to(&self.own, &self.endpoint).await {
            let reason =
                format!("{} is the relay itself, which would ask itself for ever", self.endpoint);
            return Err(self.agent.fail(Cause::Misconfigured, reason).advised(
                "address",
                "set AWS_EC2_METADATA_SERVICE_ENDPOINT for the application's container alone, or use another base than the instance's role: imds_emulation stands in its place",
            ));
        }
        if freshness == Freshness::Anew {
            self.token = None;
        }
        let had_token = self.token.is_some();
        let outcome = match self.read_once().await {
            // The instance's tokens die when it is stopped, or moved to another machine.
            Err(Trouble::Refused(_, refusal)) if had_token && refusal.status() == Some(401) => {
                self.token = None;
                self.read_once().await
            }
            outcome => outcome,
        };
        outcome.map_err(|trouble| match trouble {
            Trouble::Refused(operation, refusal) => self.refused(operation, &refusal),
            Trouble::Other(failure) => failure,
        })
    }

    async fn read_once(&mut self) -> Result<Credential, Trouble> {
        let token = self.session().await?;
        let roles = self.get(Operation::Role, ROLES, &token).await?;
        let role = role_in(roles.body(), &token).map_err(|why| self.unfit_list(why))?;
        let path = format!("{ROLES}{role}");
        let answer = self.get(Operation::Credentials, &path, &token).await?;
        document::read(answer.body(), self.clock.now(), &[&token])
            .map_err(|unfit| Trouble::Other(explain::unfit(&self.agent, &role, unfit)))
    }

    /// The token, or a new one where it nears its end.
    async fn session(&mut self) -> Result<Secret, Trouble> {
        let now = self.clock.now();
        if let Some(token) = self.token.as_ref().filter(|token| !token.due.reached(now)) {
            return Ok(token.secret.clone());
        }
        let wanted = HeaderValue::from(TOKEN_TTL.as_secs());
        let answer = self.ask(Operation::Token, Method::PUT, TOKENS, (TTL, &wanted), &[]).await?;
        let text = str::from_utf8(answer.body()).unwrap_or_default().trim();
        let legal =
            (1..=LONGEST_TOKEN).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if !legal {
            let said = format!("the answer to PUT {TOKENS} is no token ({} bytes)", text.len());
            let failure = self.agent.fail(Cause::Transient, said);
            return Err(Trouble::Other(failure.advised("metadata service", explain::NOT_ONE)));
        }
        let secret = Secret::new(text.to_owned());
        let ttl = ttl_of(answer.headers());
        self.token = Some(Token { secret: secret.clone(), due: now + (ttl - ttl / 10) });
        Ok(secret)
    }

    async fn get(
        &self,
        operation: Operation,
        path: &str,
        token: &Secret,
    ) -> Result<Response<Bytes>, Trouble> {
        let value = headers::secret(token).ok_or_else(|| {
            // It is visible ASCII.
            Trouble::Other(self.agent.fail(Cause::Internal, "the token fits no header"))
        })?;
        self.ask(operation, Method::GET, path, (TOKEN, &value), &[token]).await
    }

    /// Asks; once more where no answer came, or the service is in trouble.
    async fn ask(
        &self,
        operation: Operation,
        method: Method,
        path: &str,
        header: (HeaderName, &HeaderValue),
        secrets: &[&Secret],
    ) -> Result<Response<Bytes>, Trouble> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.endpoint))
            .header(USER_AGENT, HeaderValue::from_static(headers::AGENT))
            .header(header.0, header.1)
            .body(Bytes::new())
            .map_err(|_| {
                let reason = "no request can be made of source.imds.endpoint";
                Trouble::Other(self.agent.fail(Cause::Internal, reason))
            })?;
        let mut tries = 1..=TRIES;
        loop {
            let last = tries.next().is_none_or(|number| number == TRIES);
            let asked = self.agent.ask(operation.as_str(), request.clone(), LIMIT, secrets).await;
            match asked {
                Err(refusal) if !last && may_pass(&refusal) => {}
                outcome => {
                    return outcome.map_err(|refusal| Trouble::Refused(operation, refusal));
                }
            }
        }
    }

    fn refused(&self, operation: Operation, refusal: &Refusal) -> Failure {
        let told = explain::refusal(operation, refusal);
        let reason = format!("{} of {}: {refusal}{}", told.asked, self.endpoint, told.means);
        self.agent.fail(told.cause, reason).advised(told.layer, told.fix)
    }

    fn unfit_list(&self, why: &'static str) -> Trouble {
        let failure = self.agent.fail(Cause::Transient, why);
        Trouble::Other(failure.advised("metadata service", explain::NOT_ONE))
    }
}

/// Whether another try may do better.
fn may_pass(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::NotSent(_) | Refusal::Status { status: 500.., .. })
}

/// How long a token lives, as the service says.
fn ttl_of(headers: &HeaderMap) -> Duration {
    let said = headers.get(TTL).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    said.map_or(TOKEN_TTL, Duration::from_secs).min(TOKEN_TTL)
}

/// The one role of the list. It becomes a part of a path, and is told: it is none if it is the `token`, as where something
/// says the same to whatever is asked.
fn role_in(list: &[u8], token: &Secret) -> Result<String, &'static str> {
    // An instance has one profile, and a profile one role (IAM's quotas).
    let name = str::from_utf8(list).unwrap_or_default().lines().next().unwrap_or_default().trim();
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b);
    let fits = (1..=64).contains(&name.len()) && name.bytes().all(legal);
    if fits && name != "." && name != ".." && name != token.expose() {
        Ok(name.to_owned())
    } else {
        Err("the list of the instance's roles has none: its first line is not the name of a role")
    }
}

impl Source for Imds {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn fetch(&mut self, freshness: Freshness) -> Fetch<'_> {
        Box::pin(self.read(freshness))
    }
}

#[cfg(test)]
mod tests;
