//! An upstream that answers what a script says, over loopback.
//!
//! A script is a text: the answers one after the other, with `---` on a line of its own between them. An answer is its
//! status on a line, its headers on one each, an empty line and the body; without a status the connection is closed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::told::{CANARY, is_in_secret_fields_alone};

/// More than the relay ever sends.
const LARGEST_REQUEST: usize = 1 << 20;

/// The header by which a token is shown that an earlier answer gave.
const TOKEN: &str = "x-vault-token";

/// Between two answers.
const SEPARATOR: &str = "\n---\n";

/// The upstream of one target.
pub struct Upstream {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    answers: VecDeque<Vec<u8>>,
    tokens: Vec<String>,
}

impl Upstream {
    /// Binds and serves, on the runtime that it is called on.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback can be bound");
        let address = listener.local_addr().expect("it was bound");
        let state = Arc::new(Mutex::new(State::default()));
        tokio::spawn({
            let state = Arc::clone(&state);
            async move {
                loop {
                    if let Ok((stream, _)) = listener.accept().await {
                        tokio::spawn(serve(stream, Arc::clone(&state)));
                    }
                }
            }
        });
        Self { address, state }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it answers what `script` says, and then nothing.
    pub fn play(&self, script: &str) {
        let answers = script.split(SEPARATOR).map(|answer| rendered(answer, self.address));
        *lock(&self.state) = State { answers: answers.collect(), tokens: Vec::new() };
    }

    /// Whether it has more to say.
    pub fn has_more(&self) -> bool {
        !lock(&self.state).answers.is_empty()
    }

    /// The tokens with which it was asked.
    pub fn tokens(&self) -> Vec<String> {
        lock(&self.state).tokens.clone()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The canary, where the relay can know it for a secret: all of a script's answers that have it are successes, whose body
/// nobody quotes, and it is nowhere but in their secret fields.
pub fn known_canary(script: &str) -> Option<&'static str> {
    let quoted = |answer: &str| answer.contains(CANARY) && !answer.starts_with('2');
    let known = !script.split(SEPARATOR).any(quoted) && is_in_secret_fields_alone(script);
    known.then_some(CANARY)
}

/// The bytes of an answer; none where the connection is to be closed.
fn rendered(answer: &str, own: SocketAddr) -> Vec<u8> {
    let (head, body) = answer.split_once("\n\n").unwrap_or((answer, ""));
    let mut lines = head.lines();
    let Some(status) = lines.next().and_then(|line| line.trim().parse::<u16>().ok()) else {
        return Vec::new();
    };
    let mut text = format!("HTTP/1.1 {status:03} x\r\n");
    for line in lines {
        let leads = line.get(..9).is_some_and(|start| start.eq_ignore_ascii_case("location:"));
        text += &if leads { kept_here(line, own) } else { line.to_owned() };
        text += "\r\n";
    }
    text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    text.into_bytes()
}

/// A redirect to another port of this machine leads back here: whoever listens there has no part in this.
fn kept_here(line: &str, own: SocketAddr) -> String {
    let host = own.ip().to_string();
    let mut parts = line.split(host.as_str());
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest =
            part.strip_prefix(':').unwrap_or(part).trim_start_matches(|c: char| c.is_ascii_digit());
        kept += &format!("{own}{rest}");
    }
    kept
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    // Thousands of connections a second would else use up the ports of this machine, each for a minute.
    let _ = stream.set_zero_linger();
    let mut unread = Vec::new();
    while let Some(token) = request(&mut stream, &mut unread).await {
        let answer = {
            let mut state = lock(&state);
            state.tokens.extend(token);
            state.answers.pop_front().unwrap_or_default()
        };
        if answer.is_empty() || stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// Reads one request; gives the token that it came with, or nothing once the connection is closed.
async fn request(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<Option<String>> {
    let mut whole = None;
    loop {
        if whole.is_none() {
            whole = unread.windows(4).position(|four| four == b"\r\n\r\n").map(|at| {
                let head = String::from_utf8_lossy(&unread[..at]).into_owned();
                let length =
                    header(&head, "content-length").and_then(|text| text.parse::<usize>().ok());
                (at + 4 + length.unwrap_or(0), header(&head, TOKEN))
            });
        }
        if let Some((length, token)) = &mut whole
            && unread.len() >= *length
        {
            unread.drain(..*length);
            return Some(token.take());
        }
        if unread.len() > LARGEST_REQUEST {
            return None;
        }
        // All that the relay does on its own ends within minutes of the paused time.
        let read = tokio::time::timeout(Duration::from_secs(600), stream.read_buf(unread)).await;
        if !matches!(read, Ok(Ok(1..))) {
            return None;
        }
    }
}

fn header(head: &str, wanted: &str) -> Option<String> {
    let lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
    let mut found = lines.filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
    found.next().map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_here() {
        let own: SocketAddr = ([127, 0, 0, 1], 4711).into();
        for (line, kept) in [
            ("Location: http://127.0.0.1:22/v1", "Location: http://127.0.0.1:4711/v1"),
            ("Location: http://127.0.0.1/", "Location: http://127.0.0.1:4711/"),
            ("Location: /v1/x", "Location: /v1/x"),
        ] {
            assert_eq!(kept_here(line, own), kept);
        }
    }
}
