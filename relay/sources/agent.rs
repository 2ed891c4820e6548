//! An agent that hands out credentials on this machine or its link, as the relay speaks to it: one
//! request out, its answer or its refusal back.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response};

use super::headers::{host_of, location, retry_after};
use crate::config::Tls;
use crate::credential::{Secret, scrub};
use crate::failure::{Cause, Failure, Stage};
use crate::metrics::ProfileMetrics;
use crate::transport::{Security, SendError, TlsError, Transport, Transports};

/// What agents say of a token that is not, or no longer, good: EKS's names of it (the API reference
/// of AssumeRoleForPodIdentity), and how the words of its agent on the node begin.
const OF_THE_TOKEN: [&str; 4] =
    ["ExpiredToken", "InvalidToken", "InvalidIdentityToken", "Service account token"];

/// One agent.
pub(super) struct Agent {
    /// Which it is: the kind of the source, and a metric's label.
    kind: &'static str,
    transport: Transport,
    metrics: ProfileMetrics,
}

impl Agent {
    /// An agent to which TLS is spoken, by the system's roots, or not.
    ///
    /// # Errors
    /// If there are no roots.
    pub(super) fn new(
        kind: &'static str,
        plain: bool,
        transports: &Transports,
        metrics: ProfileMetrics,
    ) -> Result<Self, TlsError> {
        let tls = Tls { ca_cert: None, client: None, server_name: None };
        let security = if plain { Security::Plain } else { Security::Tls(tls) };
        Ok(Self { kind, transport: transports.get(security)?, metrics })
    }

    /// Sends a request and reads the answer, within `limit`. The `secrets` were sent with it.
    ///
    /// # Errors
    /// Whatever came in the place of a success.
    pub(super) async fn ask(
        &self,
        operation: &'static str,
        request: Request<Bytes>,
        limit: Duration,
        secrets: &[&Secret],
    ) -> Result<Response<Bytes>, Refusal> {
        let asked = self.exchange(request, limit, secrets).await;
        let result = asked.as_ref().map_or_else(|why| why.cause().as_str(), |_| "success");
        self.metrics.upstream_call(self.kind, operation, result);
        asked
    }

    async fn exchange(
        &self,
        request: Request<Bytes>,
        limit: Duration,
        secrets: &[&Secret],
    ) -> Result<Response<Bytes>, Refusal> {
        let sent = self.transport.send(request.map(Full::new), limit).await;
        let answer = sent.map_err(Refusal::NotSent)?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        if answer.status().is_redirection() {
            let to = location(answer.headers()).unwrap_or_default();
            return Err(Refusal::Redirected { to: host_of(&to, secrets.iter().copied()) });
        }
        Err(Refusal::Status {
            status: answer.status().as_u16(),
            said: said(answer.body(), secrets),
            retry_after: retry_after(answer.headers()),
        })
    }

    /// A failure of the source.
    pub(super) fn fail(&self, cause: Cause, reason: impl Into<String>) -> Failure {
        Failure::new(cause, Stage::Base(self.kind), reason)
    }
}

/// What came in the place of a success. Every text is scrubbed.
#[derive(Debug)]
pub(super) enum Refusal {
    /// No whole answer came.
    NotSent(SendError),
    /// It was sent elsewhere, where the relay does not go: an agent has one address.
    Redirected { to: String },
    /// It said no.
    Status { status: u16, said: String, retry_after: Option<Duration> },
}

impl Refusal {
    /// What to do next: upstreams section 6.
    pub(super) fn cause(&self) -> Cause {
        match self {
            Self::NotSent(error) if error.is_tls() => Cause::Tls,
            Self::NotSent(SendError::Answer(_)) => Cause::Transient,
            Self::NotSent(_) => Cause::Unreachable,
            Self::Redirected { .. } => Cause::Misconfigured,
            Self::Status { status: 429, retry_after, .. } => {
                Cause::Throttled { retry_after: *retry_after }
            }
            Self::Status { status: 401, .. } => Cause::StaleCaller,
            Self::Status { status: 400..=499, said, .. } => {
                if OF_THE_TOKEN.iter().any(|words| said.contains(words)) {
                    Cause::StaleCaller
                } else {
                    Cause::Denied
                }
            }
            Self::Status { .. } => Cause::Transient,
        }
    }

    /// The status, where it said no.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::NotSent(_) | Self::Redirected { .. } => None,
        }
    }

    /// Whether it has these words.
    pub(super) fn says(&self, words: &str) -> bool {
        matches!(self, Self::Status { said, .. } if said.contains(words))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(error) => error.fmt(f),
            Self::Redirected { to } => {
                write!(f, "it redirects to {to}, and redirects are not followed")
            }
            Self::Status { status, said, .. } if said.is_empty() => write!(f, "HTTP {status}"),
            Self::Status { status, said, .. } => write!(f, "HTTP {status}: {said}"),
        }
    }
}

/// What a refusal says: the code and the message of AWS's agents, in either casing, or how any other
/// text begins. JSON of another form may be anything, credentials among it, and is not told.
fn said(body: &[u8], secrets: &[&Secret]) -> String {
    let text = match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(document) => {
            let field = |names: [&str; 2]| {
                names.iter().find_map(|name| document.get(name)?.as_str()).unwrap_or_default()
            };
            let (code, message) = (field(["code", "Code"]), field(["message", "Message"]));
            let gap = if code.is_empty() || message.is_empty() { "" } else { ": " };
            format!("{code}{gap}{message}")
        }
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    if text.contains("SecretAccessKey") {
        return "(a part of a credentials document)".to_owned();
    }
    scrub(&text, secrets.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, body: &str) -> Refusal {
        let said = said(body.as_bytes(), &[&Secret::new("secret-of-the-file".to_owned())]);
        Refusal::Status { status, said, retry_after: None }
    }

    #[test]
    fn refusals_are_told_apart_by_their_status_and_by_what_they_say_of_the_token() {
        let expired = "Service account token failed basic claim validations: token is expired\n";
        let none = "[r-1]: (ResourceNotFoundException): No association, fault: client\n";
        for (status, body, cause) in [
            (400, expired, Cause::StaleCaller),
            (400, "[r-1]: (ExpiredTokenException): expired, fault: client", Cause::StaleCaller),
            (404, none, Cause::Denied),
            (400, r#"{"code":"InvalidIdInRequest","message":"no such id"}"#, Cause::Denied),
            (401, "", Cause::StaleCaller),
            (403, "", Cause::Denied),
            (429, "", Cause::Throttled { retry_after: None }),
            (500, "", Cause::Transient),
            (503, "<html>", Cause::Transient),
        ] {
            assert_eq!(refusal(status, body).cause(), cause, "{status} {body}");
        }
    }

    #[test]
    fn code_and_message_are_read_in_either_casing_and_in_both() {
        for body in [
            r#"{"code":"C","message":"no"}"#,
            r#"{"Code":"C","Message":"no"}"#,
            r#"{"code":"C","Code":"C","message":"no","Message":"no"}"#,
        ] {
            assert_eq!(refusal(400, body).to_string(), "HTTP 400: C: no");
        }
        assert_eq!(refusal(503, r#"{"message":"no"}"#).to_string(), "HTTP 503: no");
    }

    #[test]
    fn what_may_be_a_secret_is_not_told() {
        for (body, told) in [
            ("sent secret-of-the-file\n", "HTTP 400: sent [redacted]"),
            (r#"{"SecretAccessKey":"k"}"#, "HTTP 400"),
            (r#"{"SecretAccessKey":"k","#, "HTTP 400: (a part of a credentials document)"),
            (r#""secret""#, "HTTP 400"),
        ] {
            assert_eq!(refusal(400, body).to_string(), told);
        }
    }
}
