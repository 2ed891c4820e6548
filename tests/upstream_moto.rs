//! The shared upstream cases against moto, which must be running: the end-to-end harness starts it,
//! and hands over the document that `tests/e2e/moto_server.py` prints, in `MOTO`:
//!
//! ```text
//! MOTO='{"endpoint": …}' cargo test --test upstream_moto
//! ```
//!
//! A plain `cargo test` does not include this target, so nothing is skipped silently: where it
//! runs, it runs all of it, and without `MOTO` it fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test program: the helpers stand outside of the test functions"
)]

mod upstream_cases;

use upstream_cases::{Upstream, World, calls, signatures};

fn moto() -> World {
    let described = std::env::var("MOTO").expect(
        "MOTO must hold the JSON document that tests/e2e/moto_server.py prints once it serves",
    );
    serde_json::from_str(&described).unwrap()
}

#[tokio::test]
async fn calls_hold_for_moto() {
    calls::run(&moto(), Upstream::Moto).await;
}

#[tokio::test]
async fn signatures_hold_for_moto() {
    signatures::run(&moto(), Upstream::Moto).await;
}
