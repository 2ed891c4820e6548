//! All that the relay logs while a target runs, at the finest level.

use std::io::{self, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use credential_relay::telemetry;
use tracing::Level;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static STARTED: OnceLock<()> = OnceLock::new();

struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Begins to keep the log, which is as the relay's own filter lets it be (`telemetry::Settings::start`).
pub fn keep() {
    STARTED.get_or_init(|| {
        let filter = telemetry::own(Level::TRACE);
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| Lines);
        tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    });
}

/// What was logged since this was asked last.
pub fn taken() -> String {
    let lines = std::mem::take(&mut *LINES.lock().unwrap_or_else(PoisonError::into_inner));
    String::from_utf8_lossy(&lines).into_owned()
}
