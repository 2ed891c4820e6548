//! A profile's credentials in a file of the SDKs' own form, for programs that can read nothing else.
//!
//! It is written whole at each publication and is gone as soon as nothing in it may be used: at the
//! end of a credential, and with the relay. What stands at its path and is not the relay's stays.

mod write;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use zeroize::Zeroizing;

use crate::clock::{Clock, Moment};
use crate::config;
use crate::config::values::ProfileName;
use crate::credential::Validity;
use crate::files::Aside;
use crate::store::{Reader, Served, View};
use write::{Place, text};

/// A sleep does not count the time for which a machine is suspended, so the clock is looked at this
/// often.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How soon what could not be written is tried again: a folder may come after the relay, and the
/// next credential after hours.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// How long the end waits for the file to be gone. On a mount that hangs it never is.
pub const REMOVAL: Duration = Duration::from_secs(1);

/// Why a file cannot be the relay's to write.
#[derive(Debug)]
pub struct FileError {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "credentials_file.path {}: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for FileError {}

/// Checks that what is at the path, if anything is, is the relay's own.
///
/// # Errors
/// If it is something else, or cannot be looked at. A folder that is missing is none: it may come.
pub fn check(settings: &config::CredentialsFile) -> Result<(), FileError> {
    let failed = |error| FileError { path: settings.path.clone(), error };
    write::is_free(&settings.path).map_err(failed)
}

/// What becomes of the file at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It goes.
    Removed,
    /// Another takes it over as it is.
    Left,
}

/// Keeps a profile's file in step with what is held for it.
pub struct CredentialsFile {
    profile: ProfileName,
    section: String,
    reader: Reader,
    clock: Clock,
    file: Kept,
    /// What was last told of the file, so that it is told once.
    told: Option<String>,
}

impl CredentialsFile {
    /// The file of these settings, which follows `reader`.
    pub fn new(
        profile: ProfileName,
        settings: &config::CredentialsFile,
        reader: Reader,
        clock: Clock,
    ) -> Self {
        let file = Kept::at(settings.path.clone(), profile.clone());
        Self { profile, section: settings.section.clone(), reader, clock, file, told: None }
    }

    /// The same, which goes on with what was kept at its path before.
    #[must_use]
    pub fn after(mut self, before: Kept) -> Self {
        self.file = before.kept_for(&self.profile);
        self
    }

    /// Follows until `end` is ready, and removes the file, which takes 1 s at most, or leaves it. What it gives
    /// goes to whoever comes next to that path. If it is dropped before, the file stays, but for one that is being
    /// written.
    pub async fn run(mut self, end: impl Future<Output = End>) -> Kept {
        let end = tokio::select! {
            () = self.follow() => End::Removed,
            end = end => end,
        };
        if end == End::Removed
            && let Err(error) = self.file.end().await
        {
            let (profile, path) = (&self.profile, self.file.path.display());
            tracing::error!(%profile, %path, %error, "the credentials file could not be removed");
        }
        self.file
    }

    async fn follow(&mut self) {
        let mut written: Option<Arc<Served>> = None;
        let mut failed: Option<(Arc<Served>, Instant)> = None;
        loop {
            let held = match self.reader.look().view(self.clock.now()) {
                View::Ready(served, _) => Some(Arc::clone(served)),
                View::Pending | View::Expired | View::Unavailable(_) => None,
            };
            let waits = |new: &Arc<Served>| {
                let before = failed.as_ref().filter(|(before, _)| Arc::ptr_eq(before, new));
                before.is_some_and(|(_, at)| at.elapsed() < TRY_AGAIN)
            };
            let new = held.as_ref().filter(|held| !is_same(held, written.as_ref()) && !waits(held));
            if let Some(new) = new {
                if self.put(Some(new)).await {
                    (written, failed) = (Some(Arc::clone(new)), None);
                } else {
                    failed = Some((Arc::clone(new), Instant::now()));
                }
            }
            // Where the new one could not be written, the one before stays until its end.
            let now = self.clock.now();
            let over = self.file.content.end(now).is_some_and(|end| end.reached(now));
            let has_keys = matches!(self.file.content, Content::Keys(_));
            if (over || has_keys && held.is_none()) && self.put(None).await {
                written = None;
            }
            let end = self.file.content.end(self.clock.now());
            let still = failed.as_ref().filter(|(new, _)| is_same(new, held.as_ref()));
            let again = still.map(|(_, at)| *at + TRY_AGAIN);
            tokio::select! {
                () = self.reader.changed() => {}
                () = until(end, &self.clock) => {}
                () = at(again) => {}
            }
        }
    }

    /// Writes what is held, or removes the file where nothing is; whether that was done.
    async fn put(&mut self, served: Option<&Arc<Served>>) -> bool {
        let content = served.map(|served| {
            let text = text(&self.profile, &self.section, served.credential());
            (text, end_of(served))
        });
        let outcome = self.file.set(content).await.map_err(|error| error.to_string()).err();
        let done = outcome.is_none();
        // Where nothing could be written, its removal brings it up to date no more than before.
        if outcome == self.told || done && served.is_none() {
            return done;
        }
        let (profile, path) = (&self.profile, self.file.path.display());
        if let Some(error) = &outcome {
            tracing::error!(
                %profile, %path, error,
                "the credentials file cannot be kept up to date; it is tried again every 30 s"
            );
        } else {
            tracing::info!(%profile, %path, "the credentials file is kept up to date again");
        }
        self.told = outcome;
        done
    }
}

fn is_same(served: &Arc<Served>, other: Option<&Arc<Served>>) -> bool {
    other.is_some_and(|other| Arc::ptr_eq(served, other))
}

/// When what is served may be served no longer.
fn end_of(served: &Served) -> Option<Moment> {
    match &served.credential().validity {
        Validity::Until(life) => Some(life.serve_until()),
        Validity::Unlimited => None,
    }
}

/// Waits until that moment, or for a while, after which the clock must be looked at again.
async fn until(end: Option<Moment>, clock: &Clock) {
    match end.map(|end| end.remaining(clock.now())) {
        // It could not be removed.
        Some(Duration::ZERO) => sleep(LOOK_AGAIN).await,
        Some(left) => sleep(left.min(LOOK_AGAIN)).await,
        None => std::future::pending().await,
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// A file, and what is known of it. Its folder may be a mount that hangs, so it is touched on another thread.
pub struct Kept {
    path: PathBuf,
    profile: ProfileName,
    content: Content,
    place: Arc<Mutex<Place>>,
    ended: Arc<AtomicBool>,
    aside: Aside,
}

/// What stands in a file.
enum Content {
    /// Nothing of the relay's.
    None,
    /// It may be what an earlier relay could not remove, what is another profile's, or what is being written.
    Unknown,
    /// Keys of its profile's, which may be used until then.
    Keys(Option<Moment>),
}

impl Content {
    /// Until when it may stand there. What nobody vouches for has ended.
    fn end(&self, now: Moment) -> Option<Moment> {
        match self {
            Self::None => None,
            Self::Unknown => Some(now),
            Self::Keys(end) => *end,
        }
    }
}

impl Kept {
    fn at(path: PathBuf, profile: ProfileName) -> Self {
        let place = Arc::new(Mutex::new(Place::at(path.clone())));
        let (ended, aside) = (Arc::default(), Aside::default());
        Self { path, profile, content: Content::Unknown, place, ended, aside }
    }

    fn kept_for(mut self, profile: &ProfileName) -> Self {
        if self.profile != *profile {
            (self.profile, self.content) = (profile.clone(), Content::Unknown);
        }
        self
    }

    /// Writes the file, or removes it. Who stops waiting leaves it under way.
    async fn set(
        &mut self,
        content: Option<(Zeroizing<String>, Option<Moment>)>,
    ) -> io::Result<()> {
        let (text, next) = match content {
            Some((text, end)) => (Some(text), Content::Keys(end)),
            None => (None, Content::None),
        };
        let (place, ended) = (Arc::clone(&self.place), Arc::clone(&self.ended));
        let work = move || {
            let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
            let outcome = match text {
                Some(text) if !ended.load(Ordering::SeqCst) => place.write(&text),
                Some(_) | None => place.remove(),
            };
            // Nobody may be there to remove it.
            if ended.load(Ordering::SeqCst) { place.remove() } else { outcome }
        };
        let before = std::mem::replace(&mut self.content, Content::Unknown);
        let outcome = self.aside.run(work).await.flatten();
        self.content = if outcome.is_ok() { next } else { before };
        outcome
    }

    /// Removes the file, with what is still being written; what is put there later is another's.
    async fn end(&mut self) -> io::Result<()> {
        std::mem::take(&mut self.ended).store(true, Ordering::SeqCst);
        let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "its folder does not answer"));
        timeout(REMOVAL, self.set(None)).await.unwrap_or_else(late)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
