//! As much of HTTP/1.1 as a load generator needs.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Result;

/// Answers are under 10,000 bytes; the metrics of 40 profiles have 100 kB.
const ROOM: usize = 1 << 20;

/// No answer takes longer: the relay holds a request for less than a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request as an SDK sends it.
pub(crate) fn request(path: &str, access_token: &str, at: SocketAddr) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {at}\r\nUser-Agent: aws-sdk-go-v2/1.39.6 ua/2.1 os/linux lang/go#1.25.4 md/GOOS#linux md/GOARCH#amd64\r\nAccept: application/json\r\nAuthorization: {access_token}\r\nAccept-Encoding: gzip\r\n\r\n"
    )
    .into_bytes()
}

/// The same without the headers that an answer does not depend on, as plain load generators and
/// health checks send it.
pub(crate) fn without_extras(request: &[u8]) -> Vec<u8> {
    let needed = |line: &&[u8]| {
        let kept: [&[u8]; 4] = [b"GET ", b"Host: ", b"Authorization: ", b"\r\n"];
        kept.iter().any(|start| line.starts_with(start))
    };
    request.split_inclusive(|byte| *byte == b'\n').filter(needed).flatten().copied().collect()
}

/// Reads answers, one after the other.
pub(crate) struct Reader {
    buffer: Vec<u8>,
    filled: usize,
    /// The head's length and the whole answer's, once the head is there.
    lengths: Option<(usize, usize)>,
}

impl Reader {
    pub(crate) fn new(room: usize) -> Self {
        Self { buffer: vec![0; room], filled: 0, lengths: None }
    }

    /// Reads once; true when an answer is there in whole.
    pub(crate) fn read(&mut self, stream: &mut impl Read) -> io::Result<bool> {
        let got = stream.read(&mut self.buffer[self.filled..])?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.filled += got;
        if self.lengths.is_none() {
            self.lengths = lengths(&self.buffer[..self.filled])?;
        }
        Ok(self.lengths.is_some_and(|(_, whole)| self.filled >= whole))
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.buffer.starts_with(b"HTTP/1.1 200 ")
    }

    pub(crate) fn body(&self) -> &[u8] {
        self.lengths.map_or(&[], |(head, whole)| &self.buffer[head..whole])
    }

    /// Makes ready for the next answer.
    pub(crate) fn reset(&mut self) {
        self.filled = 0;
        self.lengths = None;
    }
}

fn lengths(received: &[u8]) -> io::Result<Option<(usize, usize)>> {
    const NAME: &[u8] = b"\r\ncontent-length: ";
    let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = &received[..end + 2];
    let value = head
        .windows(NAME.len())
        .position(|window| window.eq_ignore_ascii_case(NAME))
        .and_then(|at| head[at + NAME.len()..].split(|byte| *byte == b'\r').next())
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse::<usize>().ok())
        .ok_or_else(|| io::Error::other("an answer without a content-length"))?;
    Ok(Some((end + 4, end + 4 + value)))
}

/// Asks once on a connection of its own, and gives the body if the answer is 200.
pub(crate) fn get(at: SocketAddr, request: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut reader = Reader::new(ROOM);
    while !reader.read(&mut stream)? {}
    Ok(reader.is_ok().then(|| reader.body().to_vec()))
}

/// As [`get`], but again until it is 200.
pub(crate) fn get_good(at: SocketAddr, request: &[u8]) -> Result<Vec<u8>> {
    for _ in 0..60 {
        if let Some(body) = get(at, request)? {
            return Ok(body);
        }
    }
    Err("no good answer came".into())
}
