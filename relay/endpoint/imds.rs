//! The instance metadata service for programs that know no other way to credentials (s3fs by
//! default, Soto, fog-aws, older minio): a listener of its own that serves one profile by that
//! service's protocol (endpoint-contract section 6).
//!
//! The protocol has no access token. Its session tokens, which anybody may ask for with a PUT, keep
//! browsers and proxies out, not other containers of the pod.

mod token;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

use super::answer::{Decision, Refusal, decide};
use super::directory::Requests;
use super::guard::{self, Hosts};
use super::{Asked, Directory, Profile, record, wire};
use crate::access::{NoRandomness, Shape};
use crate::audit::Audit;
use crate::clock::Clock;
use crate::config::ImdsVersions;
use crate::credential::document;
use crate::listener::{self, Answer, Answered, BindError, Limits, Peer};
use crate::metrics::Metrics;
use crate::shutdown::Signal;
use token::SessionTokens;

const TOKEN_PATH: &str = "/latest/api/token";
const NAMES_PATH: &str = "/latest/meta-data/iam/security-credentials";
const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const TOKEN_SECONDS: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");

/// The service's own bounds (the EC2 user guide's page on IMDSv2): a second to six hours.
const LONGEST_TOKEN: u64 = 21_600;

/// Few programs of a pod speak this protocol, each over a connection or two.
const CONNECTIONS: usize = 64;

const NO_TOKEN: &str = "this speaks IMDSv2: PUT /latest/api/token with X-aws-ec2-metadata-token-ttl-seconds gives a token, which each GET shows as X-aws-ec2-metadata-token; for programs that cannot, set imds_emulation.v1 to true\n";
const BAD_TOKEN: &str = "the session token has ended or is none of this service's: PUT /latest/api/token gives another\n";
const BAD_SECONDS: &str =
    "X-aws-ec2-metadata-token-ttl-seconds must be there once, with a number from 1 to 21600\n";

/// The listener with its address bound and nothing accepted yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    hosts: Hosts,
    versions: ImdsVersions,
    tokens: SessionTokens,
}

/// Why the listener could not be had.
#[derive(Debug)]
pub enum ImdsError {
    /// Its address.
    Bind(BindError),
    /// The key of its session tokens.
    Key(NoRandomness),
}

impl std::fmt::Display for ImdsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::Key(error) => write!(f, "imds_emulation: {error}"),
        }
    }
}

impl std::error::Error for ImdsError {}

/// Binds the address. It must be called within a tokio runtime.
///
/// # Errors
/// If the address cannot be bound, or the operating system gives no random numbers.
pub fn bind(listen: SocketAddr, versions: ImdsVersions) -> Result<Bound, ImdsError> {
    let listener = listener::bind("imds_emulation.listen", listen).map_err(ImdsError::Bind)?;
    let tokens = SessionTokens::new().map_err(ImdsError::Key)?;
    let hosts = Hosts::new(listen.ip(), &[]);
    Ok(Bound { listener, hosts, versions, tokens })
}

impl Bound {
    /// Where it listens, with the port that the kernel chose if it was 0.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Serves the only profile of `directory` until `signal` says stop.
    pub fn serve(
        self,
        directory: watch::Receiver<Arc<Directory>>,
        clock: Clock,
        metrics: &Metrics,
        audit: Audit,
        signal: Signal,
    ) -> impl Future<Output = ()> + Send + use<> {
        let service = Service(Arc::new(Inner {
            hosts: self.hosts,
            versions: self.versions,
            tokens: self.tokens,
            directory,
            clock,
            audit,
            unnamed: Requests::new("", metrics),
        }));
        listener::serve(vec![self.listener], service, Limits::uncounted(CONNECTIONS), signal)
    }
}

struct Service(Arc<Inner>);

struct Inner {
    hosts: Hosts,
    versions: ImdsVersions,
    tokens: SessionTokens,
    directory: watch::Receiver<Arc<Directory>>,
    clock: Clock,
    audit: Audit,
    /// For requests that are not about the profile.
    unnamed: Requests,
}

/// What a request wants.
#[derive(Debug)]
enum Wanted {
    /// A session token that lives so long.
    Token(Duration),
    /// The roles' names: the profile's.
    Names,
    /// The credentials of the role of this name.
    Credentials(String),
}

/// Why a request is not answered, beside what the profile's state says.
#[derive(Debug)]
enum Denial {
    Guard(Refusal<'static>),
    Path,
    Method(&'static str),
    Seconds,
    NoToken,
    WrongToken(Shape),
}

impl Answer for Service {
    fn answer(&self, request: Request<Incoming>, peer: Peer) -> Answered {
        let inner = Arc::clone(&self.0);
        let asked = Asked { at: Instant::now(), peer };
        let wanted = inner.wanted(&request);
        Answered::later(async move { inner.answer(wanted, asked).await })
    }
}

impl Inner {
    fn wanted<B>(&self, request: &Request<B>) -> Result<Wanted, Denial> {
        guard::pass(&self.hosts, request).map_err(Denial::Guard)?;
        let path = request.uri().path();
        if path == TOKEN_PATH {
            return match *request.method() {
                Method::PUT => token_life(request).map(Wanted::Token).ok_or(Denial::Seconds),
                _ => Err(Denial::Method("PUT")),
            };
        }
        let rest = path.strip_prefix(NAMES_PATH).ok_or(Denial::Path)?;
        let wanted = match rest.strip_prefix('/') {
            None if rest.is_empty() => Wanted::Names,
            Some("") => Wanted::Names,
            Some(name) => Wanted::Credentials(name.trim_end_matches('/').to_owned()),
            None => return Err(Denial::Path),
        };
        if *request.method() != Method::GET {
            return Err(Denial::Method("GET"));
        }
        let mut shown = request.headers().get_all(&TOKEN).iter();
        match (shown.next(), shown.next(), self.versions) {
            (Some(token), None, _) if self.tokens.accept(token.as_bytes(), self.clock.now()) => {
                Ok(wanted)
            }
            (Some(token), _, _) => Err(Denial::WrongToken(Shape::of(token.as_bytes()))),
            (None, _, ImdsVersions::Both) => Ok(wanted),
            (None, _, ImdsVersions::V2) => Err(Denial::NoToken),
        }
    }

    async fn answer(&self, wanted: Result<Wanted, Denial>, asked: Asked) -> Response<Full<Bytes>> {
        let wanted = match wanted {
            Ok(Wanted::Token(life)) => return self.token(life),
            Ok(wanted) => wanted,
            Err(denial) => return self.refuse(&denial, asked),
        };
        let Some(profile) = self.held(&wanted, asked).await else {
            return self.refuse(&Denial::Path, asked);
        };
        let snapshot = profile.reader.borrow();
        let decision = decide(snapshot.view(self.clock.now()));
        let response = self.about(&profile, &wanted, &decision, asked);
        profile.requests.metrics.answered(decision.index(), asked.at.elapsed());
        response
    }

    /// The only profile, if it is the one that is wanted. Until something valid is held the request is held.
    async fn held(&self, wanted: &Wanted, asked: Asked) -> Option<Arc<Profile>> {
        let mut directory = self.directory.clone();
        loop {
            let profile = directory.borrow_and_update().only().cloned()?;
            if let Wanted::Credentials(name) = wanted
                && name != profile.name.as_str()
            {
                return None;
            }
            if profile.settled(&mut directory, &self.clock, asked.at).await {
                return Some(profile);
            }
        }
    }

    fn token(&self, life: Duration) -> Response<Full<Bytes>> {
        let mut response = text(StatusCode::OK, self.tokens.issue(life, self.clock.now()));
        response.headers_mut().insert(TOKEN_SECONDS, HeaderValue::from(life.as_secs()));
        response
    }

    /// The service lists a role only while it has credentials for it: so do programs find out early
    /// that there are none.
    fn about(
        &self,
        profile: &Profile,
        wanted: &Wanted,
        decision: &Decision<'_>,
        asked: Asked,
    ) -> Response<Full<Bytes>> {
        if let (Wanted::Names, Decision::Issue(_)) = (wanted, decision) {
            return text(StatusCode::OK, profile.name.as_str().to_owned());
        }
        record(&self.audit, Some(profile), decision, asked.peer);
        match decision {
            Decision::Issue(served) => {
                let updated = self.clock.now().wall;
                wire::json(StatusCode::OK, document::metadata(served.credential(), updated))
            }
            Decision::Refuse(_) => wire::render(decision),
        }
    }

    fn refuse(&self, denial: &Denial, asked: Asked) -> Response<Full<Bytes>> {
        let (response, refusal) = match denial {
            Denial::Guard(Refusal::Forwarded) => {
                (wire::render(&Decision::Refuse(Refusal::Forwarded)), Refusal::Forwarded)
            }
            Denial::Guard(_) => (wire::render(&Decision::Refuse(Refusal::Host)), Refusal::Host),
            Denial::Path => (text(StatusCode::NOT_FOUND, String::new()), Refusal::Path),
            Denial::Method(right) => {
                let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("use {right}\n"));
                response
                    .headers_mut()
                    .insert(hyper::header::ALLOW, HeaderValue::from_static(right));
                (response, Refusal::Method)
            }
            Denial::Seconds => {
                (text(StatusCode::BAD_REQUEST, BAD_SECONDS.to_owned()), Refusal::Method)
            }
            Denial::NoToken => {
                (text(StatusCode::UNAUTHORIZED, NO_TOKEN.to_owned()), Refusal::NoToken)
            }
            Denial::WrongToken(shape) => {
                (text(StatusCode::UNAUTHORIZED, BAD_TOKEN.to_owned()), Refusal::WrongToken(*shape))
            }
        };
        let decision = Decision::Refuse(refusal);
        record(&self.audit, None, &decision, asked.peer);
        let index = decision.index();
        self.unnamed.metrics.answered(index, asked.at.elapsed());
        response
    }
}

/// How long the token shall live that a PUT asks for.
fn token_life<B>(request: &Request<B>) -> Option<Duration> {
    let mut given = request.headers().get_all(&TOKEN_SECONDS).iter();
    let (Some(seconds), None) = (given.next(), given.next()) else { return None };
    let seconds: u64 = seconds.to_str().ok()?.trim().parse().ok()?;
    (1..=LONGEST_TOKEN).contains(&seconds).then(|| Duration::from_secs(seconds))
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
