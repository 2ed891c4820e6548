//! A certificate in two files that somebody else writes.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use zeroize::Zeroizing;

use super::Status;
use super::decide::Span;
use super::pair::{Pair, Part};
use crate::clock::{Clock, Timestamp};
use crate::files::{self, Aside};
use crate::listener::tls::Current;
use crate::schedule::Draw;

/// A certificate with a few others after it, or a key: some kilobytes.
const LARGEST: u64 = 64 << 10;

/// The kubelet brings a Secret's change within a minute or two, so looking more often gains little.
const POLL: Duration = Duration::from_secs(10);

/// Both files.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

/// What both had in them.
#[derive(PartialEq, Eq)]
struct Texts {
    cert: Zeroizing<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
}

impl Paths {
    fn read(&self) -> Result<Texts, String> {
        let read = |setting: &str, path: &Path| {
            files::read(path, LARGEST).map_err(|error: io::Error| {
                format!("certificates.files.{setting}: {} cannot be read: {error}", path.display())
            })
        };
        Ok(Texts { cert: read("cert", &self.cert)?, key: read("key", &self.key)? })
    }

    fn pair(&self, texts: &Texts) -> Result<Pair, String> {
        Pair::read(&texts.cert, &texts.key).map_err(|(part, why)| {
            let (setting, path) = match part {
                Part::Certificate => ("cert", &self.cert),
                Part::Key => ("key", &self.key),
            };
            format!("certificates.files.{setting}: {} cannot be used: {why}", path.display())
        })
    }
}

/// Looks at the files for ever.
pub(super) struct Watcher {
    paths: Paths,
    read: Texts,
    current: Current,
    status: watch::Sender<Status>,
    clock: Clock,
    told: Option<String>,
}

impl Watcher {
    /// Reads both files.
    ///
    /// # Errors
    /// Which is wrong, and how; nothing of the key.
    pub(super) fn start(
        paths: Paths,
        current: Current,
        status: watch::Sender<Status>,
        clock: Clock,
    ) -> Result<Self, String> {
        let read = paths.read()?;
        let pair = paths.pair(&read)?;
        let watcher = Self { paths, read, current, status, clock, told: None };
        watcher.serve(&pair);
        Ok(watcher)
    }

    /// Never ends.
    pub(super) async fn run(mut self) {
        let mut aside = Aside::default();
        loop {
            tokio::time::sleep(POLL + Draw::random().share(POLL)).await;
            let paths = self.paths.clone();
            let read = aside.run(move || paths.read()).await;
            self.take(read.unwrap_or_else(|error| Err(error.to_string())));
        }
    }

    /// Takes what was read into use, unless it is wrong.
    fn take(&mut self, read: Result<Texts, String>) {
        let fresh = read.and_then(|texts| {
            if texts == self.read {
                return Ok(None);
            }
            self.paths.pair(&texts).map(|pair| Some((texts, pair)))
        });
        match fresh {
            Ok(None) => self.told = None,
            Ok(Some((texts, pair))) => {
                self.read = texts;
                self.told = None;
                self.serve(&pair);
            }
            Err(error) => {
                if self.told.as_ref() != Some(&error) {
                    tracing::error!(%error, "the certificate from before stays in use");
                    self.told = Some(error);
                }
            }
        }
    }

    fn serve(&self, pair: &Pair) {
        self.current.set(pair.certified.clone());
        let cert = self.paths.cert.display();
        match outside(pair.span, self.clock.now().wall) {
            Some(why) => tracing::warn!(
                cert = %cert,
                "the certificate {why}: no API server will accept it; look at whoever renews it, and at this machine's clock"
            ),
            None => {
                tracing::info!(cert = %cert, expires = %pair.span.until, "a certificate is served");
            }
        }
        self.status.send_replace(Status { ready: true, expires: Some(pair.span.until) });
    }
}

/// Why it is not the certificate's time.
fn outside(span: Span, now: Timestamp) -> Option<String> {
    if span.has_ended(now) {
        Some(format!("has ended at {}", span.until))
    } else if now < span.from {
        Some(format!("is not valid before {}", span.from))
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
