//! Logs: to standard error, as JSON or for people, and never a secret. Whether somebody reads them
//! or not, the relay goes on.

use std::fmt;
use std::io::IsTerminal;
use std::str::FromStr;
use std::time::Duration;

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt as lines};

use crate::queue::{Line, Queue};

static QUEUE: Queue = Queue::new();

/// How long the end of the program may wait for somebody to read the last lines.
const LAST_LINES: Duration = Duration::from_millis(200);

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Human,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            "human" => Ok(Self::Human),
            other => Err(format!(
                "CREDENTIAL_RELAY_LOG_FORMAT is {} characters long; json and human are known",
                other.len()
            )),
        }
    }
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    format: Format,
    level: Level,
}

/// A setting of the log that is not right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError(String);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SettingsError {}

impl Settings {
    /// From `CREDENTIAL_RELAY_LOG` (error, warn, info, debug or trace; info if it is not set) and
    /// `CREDENTIAL_RELAY_LOG_FORMAT` (json or human; human if standard error is a terminal).
    ///
    /// # Errors
    /// If one of them has another value.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let level = match lookup("CREDENTIAL_RELAY_LOG") {
            None => Level::INFO,
            Some(text) => text.trim().parse().map_err(|_| {
                SettingsError(format!(
                    "CREDENTIAL_RELAY_LOG is {} characters long; error, warn, info, debug and trace are known",
                    text.len()
                ))
            })?,
        };
        let format = match lookup("CREDENTIAL_RELAY_LOG_FORMAT") {
            Some(text) => text.trim().parse().map_err(SettingsError)?,
            None if std::io::stderr().is_terminal() => Format::Human,
            None => Format::Json,
        };
        Ok(Self { format, level })
    }

    /// Starts to log, at this level, what the relay itself says. What the crates below it say is not let through: they tell
    /// what they were told by files, programs and upstreams (aws-runtime, lines of a shared configuration file that it does not
    /// understand; the SDK, STS's errors whole). What matters of it comes back as an error, which is scrubbed.
    ///
    /// Lines are kept until [`write`](fn@write), [`last_words`] or [`flush`].
    pub fn start(self) {
        let filter = own(self.level);
        let base = lines::layer().with_writer(|| Line(&QUEUE));
        let layer = match self.format {
            Format::Json => base.json().flatten_event(true).boxed(),
            Format::Human => {
                base.with_target(false).with_ansi(std::io::stderr().is_terminal()).boxed()
            }
        };
        QUEUE.keep();
        // Set twice only in tests of one process, where the first one serves.
        let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
        hook_panics(|place| {
            tracing::error!(place, "panic: a bug of the relay, please report it");
            flush();
        });
    }
}

/// What is logged: the relay's own words from this level on (`credential_relay_listener` begins alike), and nobody else's.
pub fn own(level: Level) -> Targets {
    Targets::new().with_target("credential_relay", level)
}

/// Writes the log from now on, by a thread of its own: once the sandbox is closed, which binds the
/// threads that are made after it.
pub fn write() {
    QUEUE.serve(std::io::stderr(), |lines| {
        tracing::warn!(lines, "so many lines of the log were dropped here: nobody read them");
    });
}

/// Waits a little until the log is written; for the end of the program.
pub fn flush() {
    write();
    QUEUE.flush(LAST_LINES);
}

/// Says why the program ends, in a line on standard error, and [`flush`]es.
pub fn last_words(why: &dyn fmt::Display) {
    QUEUE.push(format!("credential-relay: {why}\n").as_bytes());
    flush();
}

/// From now on a panic tells its place alone, on standard error, for commands that keep no log.
pub fn quiet_panics() {
    hook_panics(|place| {
        last_words(&format_args!("panic at {place}: a bug of the relay, please report it"));
    });
}

/// A panic's message may hold whatever was formatted into it, so only its place is told.
fn hook_panics(tell: fn(&str)) {
    std::panic::set_hook(Box::new(move |info| {
        tell(&info.location().map(ToString::to_string).unwrap_or_default());
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_are_read_and_mistakes_named() {
        let given = |level: &'static str, format: &'static str| {
            Settings::read(move |name| {
                Some(if name.ends_with("FORMAT") { format } else { level }.to_owned())
            })
        };
        assert_eq!(
            given("debug", "json"),
            Ok(Settings { format: Format::Json, level: Level::DEBUG })
        );
        let error = given("loud", "json").unwrap_err().to_string();
        assert!(error.contains("CREDENTIAL_RELAY_LOG is 4 characters"), "{error}");
        let error = given("info", "xml").unwrap_err().to_string();
        assert!(error.contains("json and human"), "{error}");
    }
}
