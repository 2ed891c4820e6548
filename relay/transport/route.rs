//! How a connection is made: straight or through a proxy, with TLS to the upstream itself in either
//! case, all within one limit.

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{
    DefaultServerNameResolver, FixedServerNameResolver, HttpsConnector, ResolveServerName,
};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::Matcher;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::time::timeout;
use tower::Service;

type BoxError = Box<dyn Error + Send + Sync>;
type Connecting = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

/// A connector of hyper's client.
#[derive(Clone)]
pub(super) struct Route {
    limit: Duration,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Plain(HttpConnector),
    Secure(Secure),
}

#[derive(Clone)]
struct Secure {
    config: Arc<ClientConfig>,
    names: Arc<dyn ResolveServerName + Send + Sync>,
    proxies: Arc<Matcher>,
}

impl Route {
    /// Without TLS, and without a proxy: those would read it.
    pub(super) fn plain(limit: Duration) -> Self {
        Self { limit, kind: Kind::Plain(HttpConnector::new()) }
    }

    /// With TLS, and through the proxy that `HTTPS_PROXY` and `NO_PROXY` name for the address.
    pub(super) fn secure(
        limit: Duration,
        config: ClientConfig,
        name: Option<ServerName<'static>>,
    ) -> Self {
        let names: Arc<dyn ResolveServerName + Send + Sync> = match name {
            Some(name) => Arc::new(FixedServerNameResolver::new(name)),
            None => Arc::new(DefaultServerNameResolver::default()),
        };
        let proxies = Arc::new(Matcher::from_env());
        Self { limit, kind: Kind::Secure(Secure { config: Arc::new(config), names, proxies }) }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Route")
    }
}

impl Secure {
    fn connect(&self, to: Uri) -> Connecting {
        let mut tcp = HttpConnector::new();
        // https addresses come here too; TLS is put on what this one makes.
        tcp.enforce_http(false);
        match self.proxies.intercept(&to) {
            None => boxed(self.over(tcp).call(to)),
            Some(proxy) => {
                let names = Arc::new(DefaultServerNameResolver::default());
                let to_proxy = HttpsConnector::new(tcp, Arc::clone(&self.config), false, names);
                let mut tunnel = Tunnel::new(proxy.uri().clone(), to_proxy);
                if let Some(who) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(who.clone());
                }
                let tunnelled = self.over(tunnel).call(to);
                let host = proxy.uri().authority().map(ToString::to_string).unwrap_or_default();
                let host = host.rsplit('@').next().unwrap_or_default().to_owned();
                Box::pin(async move {
                    let through = |error| BoxError::from(ThroughProxy { host, error });
                    tunnelled.await.map(Stream::new).map_err(through)
                })
            }
        }
    }

    fn over<C>(&self, connector: C) -> HttpsConnector<C> {
        HttpsConnector::new(connector, Arc::clone(&self.config), true, Arc::clone(&self.names))
    }
}

fn boxed<T: Transporting>(
    connecting: impl Future<Output = Result<T, impl Into<BoxError>>> + Send + 'static,
) -> Connecting {
    Box::pin(async move { connecting.await.map(Stream::new).map_err(Into::into) })
}

impl Service<Uri> for Route {
    type Response = Stream;
    type Error = BoxError;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Connecting {
        let connecting = match &mut self.kind {
            Kind::Plain(tcp) => boxed(tcp.call(to)),
            Kind::Secure(secure) => secure.connect(to),
        };
        let limit = self.limit;
        Box::pin(async move {
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
            timeout(limit, connecting).await.map_err(late)?
        })
    }
}

/// What went wrong on the way through a proxy.
#[derive(Debug)]
pub(super) struct ThroughProxy {
    host: String,
    error: BoxError,
}

impl fmt::Display for ThroughProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "through the proxy {}", self.host)
    }
}

impl Error for ThroughProxy {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.error.as_ref())
    }
}

/// What hyper's client wants of a connection.
trait Transporting: Read + Write + Connection + Send + Unpin + 'static {}
impl<T: Read + Write + Connection + Send + Unpin + 'static> Transporting for T {}

/// A connection of any kind.
pub(super) struct Stream(Box<dyn Transporting>);

impl Stream {
    fn new(inner: impl Transporting) -> Self {
        Self(Box::new(inner))
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.0.connected()
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, into)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }
}
