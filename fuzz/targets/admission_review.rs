//! The bytes of the API server's questions to the webhook, over HTTP: each is answered, and what is changed can be.

#![no_main]

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use credential_relay::injector::{Metrics, PATH, Webhook};
use credential_relay::listener::{self, Limits};
use credential_relay::shutdown::{self, Trigger};
use credential_relay_fuzz::admission::{apply, has_relay, settings};
use credential_relay_fuzz::{execute, log, runtime};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// A patch has 256 KiB at most, which base64 makes a third longer; a refusal has a line for each thing that is wrong.
const LARGEST_ANSWER: usize = 512 << 10;

struct World {
    runtime: Runtime,
    address: SocketAddr,
    connection: RefCell<Option<TcpStream>>,
    _trigger: Trigger,
}

impl World {
    fn start() -> Self {
        log::keep();
        let runtime = runtime();
        let (address, trigger) = runtime.block_on(async {
            let listener = listener::bind("listen", ([127, 0, 0, 1], 0).into())
                .expect("loopback can be bound");
            let address = listener.local_addr().expect("it was bound");
            let webhook = Webhook::new(Arc::new(settings()), Metrics::default());
            let (trigger, signal) = shutdown::channel();
            tokio::spawn(listener::serve(vec![listener], webhook, Limits::uncounted(16), signal));
            (address, trigger)
        });
        Self { runtime, address, connection: RefCell::default(), _trigger: trigger }
    }

    /// The status and the body of the answer.
    async fn ask(&self, question: &[u8]) -> (u16, Vec<u8>) {
        let kept = self.connection.borrow_mut().take();
        let mut stream = match kept {
            Some(stream) => stream,
            None => TcpStream::connect(self.address).await.expect("it listens"),
        };
        let head = format!(
            "POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
            question.len()
        );
        stream.write_all(&[head.as_bytes(), question].concat()).await.expect("it reads");
        let mut answer = Vec::new();
        let (status, head, body) = loop {
            let read =
                tokio::time::timeout(Duration::from_secs(30), stream.read_buf(&mut answer)).await;
            assert!(matches!(read, Ok(Ok(1..))), "no whole answer: {read:?}");
            if let Some(found) = head_of(&answer) {
                break found;
            }
        };
        while answer.len() < head + body {
            let read =
                tokio::time::timeout(Duration::from_secs(30), stream.read_buf(&mut answer)).await;
            assert!(matches!(read, Ok(Ok(1..))), "half an answer: {read:?}");
        }
        assert_eq!(answer.len(), head + body, "more than an answer");
        *self.connection.borrow_mut() = Some(stream);
        (status, answer.split_off(head))
    }
}

/// The status, the head's length and the body's, once the head is there.
fn head_of(answer: &[u8]) -> Option<(u16, usize, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut parsed = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = parsed.parse(answer).expect("an answer is HTTP") else {
        return None;
    };
    let length =
        parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| str::from_utf8(header.value).ok()?.parse().ok());
    Some((parsed.code?, head, length.expect("it says how long it is")))
}

fn check(question: &[u8], status: u16, body: &[u8]) {
    assert!(body.len() <= LARGEST_ANSWER, "{} bytes", body.len());
    if status != 200 {
        assert_eq!(status, 400);
        return;
    }
    let answer: Value = serde_json::from_slice(body).expect("an answer is JSON");
    let response = &answer["response"];
    // Of what is too large only the start is read; that is not asked here.
    let Ok(question) = serde_json::from_slice::<Value>(question) else { return };
    assert_eq!(response["uid"], question["request"]["uid"]);
    let allowed = response["allowed"].as_bool().expect("yes or no");
    let Some(patch) = response.get("patch") else {
        assert_eq!(allowed, response.get("status").is_none(), "{response}");
        return;
    };
    assert!(allowed, "a patch of what is refused");
    let patch = BASE64.decode(patch.as_str().expect("a text")).expect("base64");
    let patch = serde_json::from_slice(&patch).expect("a patch is JSON");
    let pod = apply(question["request"]["object"].clone(), &patch);
    assert!(has_relay(&pod), "a patch without the relay");
}

thread_local! {
    static WORLD: World = World::start();
}

fuzz_target!(|question: &[u8]| {
    WORLD.with(|world| {
        let (status, body) = execute(&world.runtime, world.ask(question));
        check(question, status, &body);
        log::taken();
    });
});
