//! What answers the requests of a server. It is one type for all of them: with several, the server's code would be in
//! the binary as often.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// This address.
    Network(SocketAddr),
    /// A process on this machine, or one that is not known.
    Local,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address) => address.fmt(f),
            Self::Local => f.write_str("local"),
        }
    }
}

/// An answer.
pub type Reply = Response<Full<Bytes>>;

/// There is no answer: the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection was closed without an answer")
    }
}

impl std::error::Error for Closed {}

/// An answer that is there, or under way.
pub enum Answered {
    /// It is there, until it is taken.
    Now(Option<Reply>),
    /// It is under way.
    Later(Pin<Box<dyn Future<Output = Result<Reply, Closed>> + Send>>),
}

impl Answered {
    /// One that is there.
    pub fn now(reply: Reply) -> Self {
        Self::Now(Some(reply))
    }

    /// One that a future gives.
    pub fn later(reply: impl Future<Output = Reply> + Send + 'static) -> Self {
        Self::Later(Box::pin(async { Ok(reply.await) }))
    }
}

impl fmt::Debug for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Now(_) => "Now",
            Self::Later(_) => "Later",
        })
    }
}

impl Future for Answered {
    type Output = Result<Reply, Closed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Now(reply) => Poll::Ready(reply.take().ok_or(Closed)),
            Self::Later(reply) => reply.as_mut().poll(context),
        }
    }
}

/// What answers requests. It is asked only when a request is to be answered, and for many at one time.
pub trait Answer: Send + Sync + 'static {
    /// Answers one, of that peer.
    fn answer(&self, request: Request<Incoming>, peer: Peer) -> Answered;
}
