//! One type for the connections of all listeners: with several, a server's code would be in the binary as often.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::answer::Peer;

/// A connection.
pub enum Stream {
    /// Over TCP: the applications', which is why it costs no call through a pointer.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
    /// Anything else.
    Other(Box<dyn Io>),
}

/// What a connection can be over.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Stream {
    /// Who is at the other end, as far as that is known.
    pub(crate) fn peer(&self) -> Peer {
        match self {
            Self::Tcp(stream) => stream.peer_addr().map_or(Peer::Local, Peer::Network),
            Self::Unix(_) | Self::Other(_) => Peer::Local,
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp(_) => "Stream(TCP)",
            Self::Unix(_) => "Stream(Unix)",
            Self::Other(_) => "Stream(other)",
        })
    }
}

/// Does something with whichever it is.
macro_rules! with {
    ($stream:ident, $io:ident => $does:expr) => {
        match $stream.get_mut() {
            Stream::Tcp(stream) => {
                let $io = Pin::new(stream);
                $does
            }
            Stream::Unix(stream) => {
                let $io = Pin::new(stream);
                $does
            }
            Stream::Other(stream) => {
                let $io = Pin::new(stream.as_mut());
                $does
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        with!(self, io => io.poll_read(context, into))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        with!(self, io => io.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        with!(self, io => io.poll_write_vectored(context, parts))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Other(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        with!(self, io => io.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        with!(self, io => io.poll_shutdown(context))
    }
}
