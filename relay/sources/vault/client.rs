//! One Vault as the relay speaks to it: requests out, answers or refusals back.
//!
//! vaultrs gives the requests of logins and tokens. They are sent here and not by its own client,
//! which loses an answer's headers (a redirect's address, Retry-After), reads an answer without
//! end, and cannot ask a Vault below a path.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderName, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Method, Request, Response, Uri};
use rustify::endpoint::Endpoint;
use serde::de::DeserializeOwned;
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::wire::{Answer, Errors};
use crate::config::values::VaultNamespace;
use crate::config::vault::Vault;
use crate::credential::{Secret, scrub, wiped};
use crate::metrics::ProfileMetrics;
use crate::sources::headers::{AGENT, location, retry_after, shown};
use crate::transport::{SendError, Transport};

/// Where a node has not seen yet what another wrote (412), it is asked again this often before it
/// counts as a failure, from 100 ms doubling to 1 s (upstreams section 6).
const CATCHING_UP: u32 = 5;

/// So many of the errors in an answer are looked at; Vault gives one or two.
const MOST_ERRORS: usize = 5;

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Without it a Vault Agent that listens for requests refuses them.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

/// What is asked of Vault: a metric's label, and words for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Login,
    RenewToken,
    LookUpToken,
    RevokeToken,
    LookUpWrapping,
    Unwrap,
    ReadCredentials,
    ReadStatic,
    RenewLease,
    RevokeLease,
}

impl Operation {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::RenewToken => "renew_token",
            Self::LookUpToken => "lookup_token",
            Self::RevokeToken => "revoke_token",
            Self::LookUpWrapping => "lookup_wrapping",
            Self::Unwrap => "unwrap",
            Self::ReadCredentials => "read_credentials",
            Self::ReadStatic => "read_static_credentials",
            Self::RenewLease => "renew_lease",
            Self::RevokeLease => "revoke_lease",
        }
    }
}

/// One question.
pub(super) struct Call<'a> {
    pub(super) operation: Operation,
    pub(super) namespace: &'a VaultNamespace,
    /// What it is asked with; a login has none.
    pub(super) token: Option<&'a Secret>,
    /// What is sent in the request itself and must not come back in an error.
    pub(super) secrets: &'a [&'a Secret],
    /// Where the call is counted.
    pub(super) metrics: &'a ProfileMetrics,
}

impl<'a> Call<'a> {
    /// Every secret of the request.
    fn sent(&self) -> impl Iterator<Item = &'a Secret> {
        self.secrets.iter().copied().chain(self.token)
    }
}

/// Why there is no answer of use.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) operation: Operation,
    /// The path below `/v1/`.
    pub(super) path: String,
    pub(super) why: Why,
}

impl Refusal {
    /// Whether Vault, and no proxy before it, refused the token, or what it may do.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self.why, Why::Status { status: 403, page: None, .. })
    }
}

/// What happened instead. Every text is scrubbed.
#[derive(Debug)]
pub(super) enum Why {
    /// The request could not be made of the settings; a bug.
    NotMade(String),
    /// No whole answer came. The request may have been carried out all the same.
    NotSent(SendError),
    /// Vault, or something before it, said no.
    Status {
        status: u16,
        /// Vault's words.
        errors: Vec<String>,
        /// How an answer begins that is not of Vault's form: a page of something before it.
        page: Option<String>,
        retry_after: Option<Duration>,
    },
    /// It was sent elsewhere, where the relay does not go.
    Redirected { to: String, rule: &'static str },
    /// A success that is none of Vault's: the number is its status.
    Unreadable { status: u16, what: String },
}

/// Asks one Vault. Cheap to clone.
#[derive(Clone)]
pub(super) struct Client {
    transport: Transport,
    settings: Arc<Vault>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.settings.address)
    }
}

impl Client {
    pub(super) fn new(transport: Transport, settings: Arc<Vault>) -> Self {
        Self { transport, settings }
    }

    pub(super) fn settings(&self) -> &Vault {
        &self.settings
    }

    /// Reads the TLS files again, for a login by certificate.
    pub(super) async fn reload(&self) {
        self.transport.reload().await;
    }

    /// Asks and reads the answer.
    ///
    /// # Errors
    /// Whatever came in the place of an answer of the kind that is wanted.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        call: &Call<'_>,
        endpoint: &impl Endpoint,
    ) -> Result<Answer<T>, Refusal> {
        let asked = self.ask(call, endpoint).await;
        let result = asked.as_ref().map_or_else(|why| why.label(), |_| "success");
        call.metrics.upstream_call("vault", call.operation.as_str(), result);
        asked.map_err(|why| Refusal { operation: call.operation, path: path_of(endpoint), why })
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        call: &Call<'_>,
        endpoint: &impl Endpoint,
    ) -> Result<Answer<T>, Why> {
        let request = self.request(call, endpoint)?;
        let answer = self.exchange(&request, call).await?;
        let (status, body) = (answer.status().as_u16(), answer.body());
        if !answer.status().is_success() {
            return Err(refused(&answer, call));
        }
        if body.is_empty() {
            // 204: what was asked for is done.
            return Ok(Answer::empty());
        }
        // serde_json quotes what it did not expect, which may be a key: only the place is told.
        serde_json::from_slice(body).map_err(|error| Why::Unreadable {
            status,
            what: format!("line {} column {}", error.line(), error.column()),
        })
    }

    fn request(&self, call: &Call<'_>, endpoint: &impl Endpoint) -> Result<Request<Bytes>, Why> {
        // rustify's own way to an address doubles the slash before a path of vaultrs's.
        let path = path_of(endpoint);
        let unfit = || Why::NotMade(format!("no request for {path} can be made"));
        let method: Method = endpoint.method().into();
        let body = endpoint.body().map_err(|_| unfit())?.unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/v1/{path}", self.settings.address))
            .body(wiped(body))
            .map_err(|_| unfit())?;
        let secret = |text: &str| HeaderValue::from_str(text).ok();
        let headers = request.headers_mut();
        headers.insert(REQUEST, HeaderValue::from_static("true"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some(namespace) = call.namespace.header().and_then(secret) {
            headers.insert(NAMESPACE, namespace);
        }
        if let Some(token) = call.token {
            let unfit = || Why::NotMade("the token has characters that no header can".to_owned());
            let mut value = secret(token.expose()).ok_or_else(unfit)?;
            value.set_sensitive(true);
            headers.insert(TOKEN, value);
        }
        Ok(request)
    }

    /// Sends a request; where a node has to catch up it is asked again.
    async fn exchange(
        &self,
        request: &Request<Bytes>,
        call: &Call<'_>,
    ) -> Result<Response<Bytes>, Why> {
        let mut wait = Duration::from_millis(100);
        for _ in 1..CATCHING_UP {
            let answer = self.exchange_once(request, call).await?;
            if answer.status().as_u16() != 412 {
                return Ok(answer);
            }
            sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(1));
        }
        self.exchange_once(request, call).await
    }

    /// Sends a request, and follows one redirect: a standby names the active node.
    async fn exchange_once(
        &self,
        request: &Request<Bytes>,
        call: &Call<'_>,
    ) -> Result<Response<Bytes>, Why> {
        let answer = self.send(request.clone()).await?;
        if !answer.status().is_redirection() {
            return Ok(answer);
        }
        let to = self.redirect(request.uri(), answer.headers(), call)?;
        let mut next = request.clone();
        *next.uri_mut() = to;
        let answer = self.send(next).await?;
        if answer.status().is_redirection() {
            let to = shown(&location(answer.headers()).unwrap_or_default(), call.sent());
            return Err(Why::Redirected {
                to,
                rule: "one redirect is followed, and it was redirected again",
            });
        }
        Ok(answer)
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Why> {
        let request = request.map(Full::new);
        self.transport.send(request, self.settings.timeout).await.map_err(Why::NotSent)
    }

    /// Where a redirect leads, if the token may go there.
    fn redirect(&self, from: &Uri, headers: &HeaderMap, call: &Call<'_>) -> Result<Uri, Why> {
        let to = location(headers).unwrap_or_default();
        let refuse = |rule| Why::Redirected { to: shown(&to, call.sent()), rule };
        let uri: Uri = to.parse().map_err(|_| refuse("it names no address"))?;
        let Some(authority) = uri.authority() else {
            // Below the same address.
            let mut parts = from.clone().into_parts();
            parts.path_and_query = uri.path_and_query().cloned();
            return Uri::from_parts(parts).map_err(|_| refuse("it names no address"));
        };
        if uri.scheme() != from.scheme() {
            return Err(refuse("the scheme must stay what vault.address says"));
        }
        let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        let settings = &self.settings;
        if host == settings.address.host() || settings.redirect_hosts.contains(&host) {
            Ok(uri)
        } else {
            Err(refuse(
                "the token is not sent to another host than those of vault.address and vault.redirect_hosts",
            ))
        }
    }
}

impl<T> Answer<T> {
    fn empty() -> Self {
        Self {
            lease_id: String::new(),
            lease_duration: 0,
            renewable: false,
            data: None,
            auth: None,
        }
    }
}

impl Refusal {
    /// Whether Vault may have done what was asked and only its answer is lost.
    pub(super) fn may_have_been_carried_out(&self) -> bool {
        match &self.why {
            Why::NotSent(error) => error.may_have_arrived(),
            // What is not in Vault's own words comes from something between.
            Why::Status { status, errors, .. } => *status >= 500 && errors.is_empty(),
            Why::Unreadable { .. } => true,
            Why::NotMade(_) | Why::Redirected { .. } => false,
        }
    }
}

impl Why {
    /// A metric's label.
    fn label(&self) -> &'static str {
        match self {
            Self::NotMade(_) => "internal",
            Self::NotSent(error) if error.is_tls() => "tls",
            Self::NotSent(_) => "unreachable",
            Self::Status { status: 429, .. } => "throttled",
            Self::Status { status: 400..=499, .. } | Self::Redirected { .. } => "refused",
            Self::Status { .. } | Self::Unreadable { .. } => "transient",
        }
    }
}

/// A path below `/v1/`. Some of vaultrs's begin with a tab.
fn path_of(endpoint: &impl Endpoint) -> String {
    endpoint.path().trim().trim_matches('/').to_owned()
}

fn refused(answer: &Response<Bytes>, call: &Call<'_>) -> Why {
    let (errors, page) = match serde_json::from_slice(answer.body()) {
        Ok(Errors { errors }) => {
            let errors = errors.iter().take(MOST_ERRORS);
            (errors.map(|text| scrub(text, call.sent())).collect(), None)
        }
        Err(_) => {
            let page = String::from_utf8_lossy(answer.body());
            (Vec::new(), Some(scrub(&page, call.sent())))
        }
    };
    Why::Status {
        status: answer.status().as_u16(),
        errors,
        page,
        retry_after: retry_after(answer.headers()),
    }
}

/// A question that vaultrs has no type for, or one that loses what is needed.
#[derive(Debug)]
pub(super) struct Ask {
    path: String,
    method: rustify::enums::RequestMethod,
    body: Zeroizing<Vec<u8>>,
}

impl Ask {
    pub(super) fn get(path: String) -> Self {
        Self { path, method: rustify::enums::RequestMethod::GET, body: Zeroizing::default() }
    }

    pub(super) fn post(path: String, body: &serde_json::Value) -> Self {
        let body = Zeroizing::new(body.to_string().into_bytes());
        Self { path, method: rustify::enums::RequestMethod::POST, body }
    }
}

impl Endpoint for Ask {
    type Response = ();
    const REQUEST_BODY_TYPE: rustify::enums::RequestType = rustify::enums::RequestType::JSON;
    const RESPONSE_BODY_TYPE: rustify::enums::ResponseType = rustify::enums::ResponseType::JSON;

    fn path(&self) -> String {
        self.path.clone()
    }

    fn method(&self) -> rustify::enums::RequestMethod {
        self.method.clone()
    }

    fn body(&self) -> Result<Option<Vec<u8>>, rustify::errors::ClientError> {
        Ok(Some(self.body.to_vec()).filter(|body| !body.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn an_answer_with_thousands_of_errors_is_not_told_whole() {
        let errors = vec!["permission denied"; 10_000];
        let body = serde_json::json!({ "errors": errors }).to_string();
        let answer = Response::builder().status(403).body(Bytes::from(body)).unwrap();
        let call = Call {
            operation: Operation::Login,
            namespace: &VaultNamespace::Root,
            token: None,
            secrets: &[],
            metrics: &Metrics::new().profile(&"payments".parse().unwrap()),
        };
        let Why::Status { errors, .. } = refused(&answer, &call) else { panic!("{answer:?}") };
        assert_eq!(errors, ["permission denied"; MOST_ERRORS]);
    }
}
