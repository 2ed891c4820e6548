//! The body of a request, for the services that want one. Until it is whole its connection counts as idle.

use std::fmt;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::{Body, Incoming};

use super::connections::Arrival;

/// How much of a body is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// So many bytes of it are kept, and what comes after them is thrown away as it comes.
    pub kept: usize,
    /// More bytes than this are not even read.
    pub read: usize,
    /// How long it may take to come in.
    pub within: Duration,
}

/// A body that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// All of it.
    Whole(Vec<u8>),
    /// What it starts with: there was more than is kept.
    Start(Vec<u8>),
}

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The client went away, or did not speak HTTP.
    CutOff,
    /// It has more bytes than are read.
    TooLarge(usize),
    /// It took too long.
    TooSlow,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutOff => f.write_str("it is cut off"),
            Self::TooLarge(most) => write!(f, "it is larger than {most} bytes"),
            Self::TooSlow => f.write_str("it came too slowly"),
        }
    }
}

impl std::error::Error for Missing {}

/// Reads the body of a request. What is kept is copied together: the pieces in which it came would hold on
/// to more than they are, if somebody sends single bytes.
///
/// # Errors
/// Why there is none.
pub async fn read(request: Request<Incoming>, bounds: Bounds) -> Result<Received, Missing> {
    let (mut head, body) = request.into_parts();
    let received = tokio::time::timeout(bounds.within, collect(body, bounds)).await;
    if let Some(arrival) = head.extensions.remove::<Arrival>() {
        arrival.ended();
    }
    received.unwrap_or(Err(Missing::TooSlow))
}

async fn collect(
    mut body: impl Body<Data = bytes::Bytes, Error: Sized> + Unpin,
    bounds: Bounds,
) -> Result<Received, Missing> {
    let (mut kept, mut length) = (Vec::new(), body.size_hint().lower());
    if length > bounds.read as u64 {
        return Err(Missing::TooLarge(bounds.read));
    }
    length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Missing::CutOff)?.into_data() else { continue };
        length += data.len() as u64;
        if length > bounds.read as u64 {
            return Err(Missing::TooLarge(bounds.read));
        }
        let room = bounds.kept - kept.len();
        kept.extend_from_slice(data.get(..room).unwrap_or(&data));
    }
    let whole = length == kept.len() as u64;
    Ok(if whole { Received::Whole(kept) } else { Received::Start(kept) })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;

    const BOUNDS: Bounds = Bounds { kept: 4, read: 8, within: Duration::from_secs(5) };

    async fn pieces(pieces: &[&'static str]) -> Result<Received, Missing> {
        let frames =
            pieces.iter().map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(*piece))));
        collect(StreamBody::new(futures_util::stream::iter(frames)), BOUNDS).await
    }

    #[tokio::test]
    async fn what_is_more_than_is_kept_is_thrown_away_and_what_is_more_than_is_read_refused() {
        assert_eq!(pieces(&[]).await, Ok(Received::Whole(vec![])));
        assert_eq!(pieces(&["ab", "cd"]).await, Ok(Received::Whole(b"abcd".to_vec())));
        assert_eq!(pieces(&["abc", "de"]).await, Ok(Received::Start(b"abcd".to_vec())));
        assert_eq!(pieces(&["abcd", "efgh"]).await, Ok(Received::Start(b"abcd".to_vec())));
        assert_eq!(pieces(&["abcd", "efgh", "i"]).await, Err(Missing::TooLarge(8)));
    }

    #[tokio::test]
    async fn what_says_that_it_is_too_large_is_not_read() {
        let body = Full::new(Bytes::from("abcdefghi"));
        assert_eq!(collect(body, BOUNDS).await, Err(Missing::TooLarge(8)));
    }
}
