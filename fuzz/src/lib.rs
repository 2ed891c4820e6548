//! What the fuzz targets share. `targets/` has the targets, `dictionaries/` words that they know, `corpus/` what was
//! found; `fuzz/run` builds and runs them.

pub mod admission;
pub mod bench;
pub mod log;
pub mod told;
pub mod upstream;

use std::future::Future;

use credential_relay::clock::Timestamp;
use tokio::runtime::{Builder, Runtime};

/// 2027-01-15T08:00:00Z: when every execution begins.
pub const START: Timestamp = Timestamp::from_secs(1_800_000_000);

/// The runtime of a target: one thread whose time is paused, so that what waits for nothing but time takes none.
pub fn runtime() -> Runtime {
    let built = Builder::new_current_thread().enable_all().start_paused(true).build();
    built.expect("a runtime can be built")
}

/// Runs one execution on a target's runtime, and lets what it left behind see that it is over.
pub fn execute<T>(runtime: &Runtime, execution: impl Future<Output = T>) -> T {
    runtime.block_on(async {
        let output = execution.await;
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        output
    })
}
