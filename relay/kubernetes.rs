//! As much of the API server's client as the injector needs: one object of three kinds is looked
//! at, created and changed. Over the relay's own transport, since a whole client would be as large as
//! the rest of the program.

mod error;
mod object;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::config::Tls;
use crate::config::environment::{CLUSTER, Environment};
use crate::credential::Secret;
use crate::files::{self, Aside};
use crate::transport::{Security, TlsError, Transport, Transports};

pub use error::{Error, Kind};
pub use object::{Object, Resource, Verb};

/// Where the kubelet puts what a pod's service account is.
pub const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

const HOST: &str = CLUSTER[0];
const PORT: &str = CLUSTER[1];

/// The API server answers within milliseconds, or is in trouble.
const LIMIT: Duration = Duration::from_secs(10);

/// A service account's token has a kilobyte or two.
const LARGEST_TOKEN: u64 = 64 << 10;

const AGENT: &str = concat!("credential-relay/", env!("CARGO_PKG_VERSION"));

/// The API server of the cluster that this pod is in, asked as this pod's service account.
pub struct Kubernetes {
    /// `https://host:port`
    address: String,
    /// Read at each request: the kubelet replaces it each hour or so.
    token: PathBuf,
    transport: Transport,
    aside: Aside,
    /// What the API server's clock said last.
    date: Option<Timestamp>,
}

impl fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kubernetes({})", self.address)
    }
}

/// How a change is put into an object. Both carry the object's resourceVersion in their metadata, so
/// that the API server refuses it (409) if somebody else was first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch {
    /// RFC 7386: lists are replaced as a whole.
    Merge,
    /// Kubernetes' own: lists of named things are merged by their names.
    Strategic,
}

impl Patch {
    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
        })
    }
}

/// Why there is no API server to ask.
#[derive(Debug)]
pub enum ConfigError {
    /// The kubelet's variables are not there: this is no pod.
    NoCluster,
    /// They are no address.
    Address(String),
    /// The CA of the service account.
    Tls(TlsError),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCluster => write!(
                f,
                "{HOST} and {PORT} are not set: self-managed certificates need a cluster's API server; run in a pod, or name certificate files instead"
            ),
            Self::Address(text) => write!(f, "{HOST} and {PORT}: {text:?} is no address"),
            Self::Tls(error) => write!(
                f,
                "the service account's CA: {error}; let the pod have its service account's token (automountServiceAccountToken: true)"
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Kubernetes {
    /// As the kubelet describes it: the address by variables, token and CA in `folder`
    /// ([`SERVICE_ACCOUNT`]).
    ///
    /// # Errors
    /// What of it is missing.
    pub fn in_cluster(
        environment: &Environment,
        folder: &Path,
        transports: &Transports,
    ) -> Result<Self, ConfigError> {
        let (Some(host), Some(port)) = (environment.get(HOST), environment.get(PORT)) else {
            return Err(ConfigError::NoCluster);
        };
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let address = format!("https://{host}:{port}");
        if address.parse::<Uri>().is_err() {
            return Err(ConfigError::Address(address));
        }
        let tls = Tls { ca_cert: Some(folder.join("ca.crt")), ..Tls::default() };
        let transport = transports.get(Security::Tls(tls)).map_err(ConfigError::Tls)?;
        let (token, aside) = (folder.join("token"), Aside::default());
        Ok(Self { address, token, transport, aside, date: None })
    }

    /// What the API server's clock said with its last answer, in whole seconds; none before the first.
    pub fn date(&self) -> Option<Timestamp> {
        self.date
    }

    /// The object as it is; none if there is none.
    ///
    /// # Errors
    /// If it could not be had.
    pub async fn get<T: DeserializeOwned>(&mut self, object: &Object) -> Result<Option<T>, Error> {
        match self.ask(Verb::Get, object, None).await {
            Ok(answer) => read(Verb::Get, object, &answer).map(Some),
            Err(error) if matches!(error.kind(), Kind::Missing) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the object.
    ///
    /// # Errors
    /// If it could not be made: [`Kind::Conflict`] if it is there by now.
    pub async fn create(&mut self, object: &Object, body: &impl Serialize) -> Result<(), Error> {
        let body = written(Verb::Create, object, body)?;
        let json = HeaderValue::from_static("application/json");
        self.ask(Verb::Create, object, Some((json, body))).await.map(drop)
    }

    /// Changes the object.
    ///
    /// # Errors
    /// If it could not be changed: [`Kind::Conflict`] if it is not what it was at the
    /// resourceVersion in `body`.
    pub async fn patch(
        &mut self,
        object: &Object,
        how: Patch,
        body: &impl Serialize,
    ) -> Result<(), Error> {
        let body = written(Verb::Patch, object, body)?;
        self.ask(Verb::Patch, object, Some((how.content_type(), body))).await.map(drop)
    }

    async fn ask(
        &mut self,
        verb: Verb,
        object: &Object,
        body: Option<(HeaderValue, Bytes)>,
    ) -> Result<Bytes, Error> {
        let failed = |kind| Error::new(verb, object, kind);
        let token = self.token().await.map_err(|why| failed(Kind::Unsent(why)))?;
        let request = self
            .request(verb, object, &token, body)
            .ok_or_else(|| failed(Kind::Unsent("the request could not be made".to_owned())))?;
        let answer = self
            .transport
            .send(request, LIMIT)
            .await
            .map_err(|error| failed(Kind::Unsent(error.to_string())))?;
        let (head, body) = answer.into_parts();
        let date = head.headers.get(DATE).and_then(|date| date.to_str().ok());
        self.date = date.and_then(Timestamp::parse_http_date).or(self.date);
        if head.status.is_success() {
            Ok(body)
        } else {
            Err(failed(Kind::of(head.status, &body, &token, object.quoted_by(verb))))
        }
    }

    fn request(
        &self,
        verb: Verb,
        object: &Object,
        token: &Secret,
        body: Option<(HeaderValue, Bytes)>,
    ) -> Option<Request<Full<Bytes>>> {
        let mut bearer =
            HeaderValue::from_str(&Zeroizing::new(format!("Bearer {}", token.expose()))).ok()?;
        bearer.set_sensitive(true);
        let method = match verb {
            Verb::Get => Method::GET,
            Verb::Create => Method::POST,
            Verb::Patch => Method::PATCH,
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{}", self.address, object.path(verb)))
            .header(AUTHORIZATION, bearer)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, AGENT);
        match body {
            None => request.body(Full::default()),
            Some((kind, body)) => request.header(CONTENT_TYPE, kind).body(Full::new(body)),
        }
        .ok()
    }

    async fn token(&mut self) -> Result<Secret, String> {
        let path = self.token.clone();
        let unread = |why: String| format!("the token {}: {why}", self.token.display());
        let read = self.aside.run(move || files::read(&path, LARGEST_TOKEN)).await;
        let bytes =
            read.flatten().map_err(|error| unread(format!("it cannot be read: {error}")))?;
        let text = str::from_utf8(&bytes).map_err(|_| unread("it is no text".to_owned()))?;
        Ok(Secret::new(text.trim().to_owned()))
    }
}

fn written(verb: Verb, object: &Object, body: &impl Serialize) -> Result<Bytes, Error> {
    let unwritten =
        |_| Error::new(verb, object, Kind::Unsent("it could not be written".to_owned()));
    serde_json::to_vec(body).map(Bytes::from).map_err(unwritten)
}

/// The error tells the place alone: the text may be a key.
fn read<T: DeserializeOwned>(verb: Verb, object: &Object, answer: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(answer).map_err(|error| {
        let why = format!("line {} column {}", error.line(), error.column());
        Error::new(verb, object, Kind::Unreadable(why))
    })
}

#[cfg(test)]
mod tests;
