//! The shared listener over TLS: each handshake runs within its own connection, so that accepting
//! never waits for one, and shows the certificate that is current at that moment.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Sleep;
use tokio_rustls::{TlsAcceptor, server};
use tracing::debug;

use super::{Accept, Stream};

/// An API server in the same cluster needs some milliseconds. How many handshakes there are at one
/// time is bounded with the connections: each is one that may be closed to make room.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// The certificate that handshakes show: whoever renews it puts another in its place, and
/// connections that are open stay as they are. Cheap to clone.
#[derive(Clone, Default)]
pub struct Current(Arc<Shared>);

#[derive(Default)]
struct Shared {
    certificate: RwLock<Option<Arc<CertifiedKey>>>,
    distrusted: Notify,
}

impl Current {
    /// From now on each handshake shows this one.
    pub fn set(&self, certificate: Arc<CertifiedKey>) {
        *self.0.certificate.write().unwrap_or_else(PoisonError::into_inner) = Some(certificate);
    }

    /// What handshakes show; none before the first one was set, and every handshake fails.
    pub fn get(&self) -> Option<Arc<CertifiedKey>> {
        self.0.certificate.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until a client said that it does not trust what it was shown.
    pub async fn distrusted(&self) {
        self.0.distrusted.notified().await;
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.get().is_some() { "Current(set)" } else { "Current(none)" })
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.get()
    }
}

/// Accepts connections and speaks TLS on them: 1.2 or later, HTTP/1.1.
pub struct Tls<A> {
    inner: A,
    acceptor: TlsAcceptor,
    current: Current,
}

impl<A> fmt::Debug for Tls<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls({:?})", self.current)
    }
}

impl<A: Accept> Tls<A> {
    /// Puts TLS on what `inner` accepts.
    ///
    /// # Errors
    /// If rustls cannot speak any version, which only another build of it could.
    pub fn new(inner: A, current: Current) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(current.clone()));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A session that is resumed shows no certificate, so after a renewal it would hang on the old
        // one; and sessions take memory.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { inner, acceptor: TlsAcceptor::from(Arc::new(config)), current })
    }
}

impl<A: Accept> Accept for Tls<A> {
    /// The API server keeps a connection for 90 s, and it does not ask again if its request meets one that
    /// was just closed here: whoever asks must be the one that closes.
    fn idle_limit(&self) -> Duration {
        Duration::from_secs(180)
    }

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let accepted = ready!(self.inner.poll_accept(context))?;
        Poll::Ready(Ok(Stream::Other(Box::new(Secured {
            state: State::Handshake {
                accept: Box::new(self.acceptor.accept(accepted)),
                deadline: Box::pin(tokio::time::sleep(HANDSHAKE)),
            },
            current: self.current.clone(),
        }))))
    }
}

/// A connection, which does its handshake when it is first read.
struct Secured {
    state: State,
    current: Current,
}

enum State {
    Handshake { accept: Box<tokio_rustls::Accept<Stream>>, deadline: Pin<Box<Sleep>> },
    Open(Box<server::TlsStream<Stream>>),
    Failed,
}

impl Secured {
    /// The connection, once its handshake is done.
    fn poll_open(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Pin<&mut server::TlsStream<Stream>>>> {
        if let State::Handshake { accept, deadline } = &mut self.state {
            let done = match Pin::new(accept).poll(context) {
                Poll::Ready(done) => done,
                Poll::Pending => {
                    ready!(deadline.as_mut().poll(context));
                    Err(io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake in time"))
                }
            };
            match done {
                Ok(open) => self.state = State::Open(Box::new(open)),
                Err(error) => {
                    debug!(%error, "a TLS handshake failed");
                    if is_distrust(&error) {
                        self.current.0.distrusted.notify_one();
                    }
                    self.state = State::Failed;
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(match &mut self.state {
            State::Open(open) => Ok(Pin::new(open.as_mut())),
            State::Handshake { .. } | State::Failed => Err(io::ErrorKind::NotConnected.into()),
        })
    }
}

/// Whether the client does not trust the certificate, by the alerts that the usual TLS libraries send.
fn is_distrust(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(
        inner,
        Some(rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::DecryptError
        ))
    )
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_open(context))?.poll_read(context, into)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(context))?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Open(open) => Pin::new(open.as_mut()).poll_flush(context),
            // Nothing was written yet.
            State::Handshake { .. } | State::Failed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Open(open) => Pin::new(open.as_mut()).poll_shutdown(context),
            State::Handshake { .. } | State::Failed => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests;
