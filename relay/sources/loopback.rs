//! An agent on loopback for tests: it notes what it is asked, and answers as it is told.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up must end")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What an agent does with a request.
pub(super) enum Answer {
    /// It answers: a status, further header lines, a body.
    Now(u16, &'static str, String),
    /// It says nothing, and a minute passes on tokio's clock.
    Never,
    /// It answers without an end.
    Endless,
}

/// The heads of requests, in order.
pub(super) type Seen = Arc<Mutex<Vec<String>>>;

/// Starts an agent, which answers each request's head.
pub(super) async fn start(
    answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let heads = Arc::clone(&seen);
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (heads, answer) = (Arc::clone(&heads), Arc::clone(&answer));
            tokio::spawn(async move { serve(stream, &heads, answer.as_ref()).await });
        }
    });
    (address, seen)
}

async fn serve(mut stream: TcpStream, seen: &Seen, answer: impl Fn(&str) -> Answer) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    seen.lock().unwrap().push(head.clone());
    let written = match answer(&head) {
        Answer::Now(status, headers, body) => {
            let length = body.len();
            let text = format!(
                "HTTP/1.1 {status} -\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
            );
            stream.write_all(text.as_bytes()).await
        }
        Answer::Never => {
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(60)).await;
            tokio::time::resume();
            std::future::pending().await
        }
        Answer::Endless => loop {
            let head = b"HTTP/1.1 200 -\r\nconnection: close\r\n\r\n".as_slice();
            if stream.write_all(&[head, &[b' '; 1 << 12]].concat()).await.is_err() {
                return;
            }
        },
    };
    // Whoever asked may have gone.
    let _ = written;
}
