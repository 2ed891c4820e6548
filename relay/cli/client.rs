//! The commands' way to a relay that runs: one HTTP request over TCP or its Unix socket.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::admin::status::Status;
use crate::config;
use crate::credential::Secret;

/// Far above any answer of the relay's own; whatever listens there may be something else.
const LARGEST_ANSWER: usize = 1 << 20;

/// Answers come at once, but for a hold of 0.8 s.
pub(super) const QUICK: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum AskError {
    /// Nobody listens.
    NotThere(io::Error),
    /// Somebody does, but it is no answer.
    Broken(String),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotThere(error) => write!(f, "no relay answers: {error}"),
            Self::Broken(why) => write!(f, "no answer that can be read: {why}"),
        }
    }
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Answer {
    /// The body as text, for errors; answers of the relay other than a credential hold no secret.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }
}

/// Asks over the admin socket.
pub(super) async fn over_socket(
    socket: &Path,
    method: Method,
    path: &str,
    limit: Duration,
) -> Result<Answer, AskError> {
    bounded(limit, async {
        let stream = UnixStream::connect(socket).await.map_err(AskError::NotThere)?;
        exchange(stream, request(method, path, "localhost", None)?).await
    })
    .await
}

/// Asks over TCP, with an access token where one is needed.
pub(super) async fn over_tcp(
    address: SocketAddr,
    path: &str,
    token: Option<&Secret>,
) -> Result<Answer, AskError> {
    bounded(QUICK, async {
        let address = reachable(address);
        let stream = TcpStream::connect(address).await.map_err(AskError::NotThere)?;
        exchange(stream, request(Method::GET, path, &address.to_string(), token)?).await
    })
    .await
}

/// Whether anybody listens there.
pub(super) async fn listens(address: SocketAddr) -> bool {
    timeout(QUICK, TcpStream::connect(reachable(address))).await.is_ok_and(|stream| stream.is_ok())
}

/// The status of the relay that the configuration describes, if it runs.
pub(super) async fn status(admin: &config::Admin) -> Result<Status, AskError> {
    let answer = over_socket(&admin.socket, Method::GET, "/status", QUICK).await?;
    serde_json::from_slice(&answer.body).map_err(|error| AskError::Broken(error.to_string()))
}

/// A listener on every address is asked on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn bounded<T>(
    limit: Duration,
    asking: impl Future<Output = Result<T, AskError>>,
) -> Result<T, AskError> {
    timeout(limit, asking).await.unwrap_or_else(|_| {
        Err(AskError::Broken(format!("nothing came within {} s", limit.as_secs())))
    })
}

fn request(
    method: Method,
    path: &str,
    host: &str,
    token: Option<&Secret>,
) -> Result<Request<Empty<Bytes>>, AskError> {
    let broken = |what: &str| AskError::Broken(what.to_owned());
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, host)
        .body(Empty::new())
        .map_err(|_| broken("the request could not be made"))?;
    if let Some(token) = token {
        let mut value = HeaderValue::from_str(token.expose())
            .map_err(|_| broken("the access token has characters that no header may have"))?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    Ok(request)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<Answer, AskError> {
    let broken = |error: hyper::Error| AskError::Broken(error.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let asking = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST_ANSWER)
            .collect()
            .await
            .map_err(|error| AskError::Broken(error.to_string()))?
            .to_bytes();
        Ok(Answer { status, body })
    };
    tokio::pin!(asking);
    // The connection must be driven for the answer to come, and may end before it was read.
    tokio::select! {
        answer = &mut asking => answer,
        _ = connection => asking.await,
    }
}
