//! Secret texts of one line, in files that somebody else keeps: tokens, ids, passwords. They are
//! read at each use and trimmed.

use std::io;
use std::path::Path;

use tokio::task::spawn_blocking;

use crate::credential::Secret;
use crate::files;

/// JWTs, tokens and secret ids have a few kilobytes at most.
const LARGEST: u64 = 64 << 10;

/// Reads a token, an id or a JWT.
///
/// # Errors
/// What is wrong with the file, without a word of its text.
pub(super) async fn token(path: &Path) -> Result<Secret, String> {
    line(path, "visible ASCII characters", |c| c.is_ascii_graphic()).await
}

/// Reads a line in which only what is `allowed`, in words `right`, may stand.
///
/// # Errors
/// What is wrong with the file, without a word of its text.
pub(super) async fn line(
    path: &Path,
    right: &'static str,
    allowed: impl Fn(char) -> bool,
) -> Result<Secret, String> {
    let unfit = |why: String| format!("{}: {why}", path.display());
    let owned = path.to_owned();
    let content = spawn_blocking(move || files::read(&owned, LARGEST))
        .await
        .unwrap_or_else(|panic| Err(io::Error::other(panic)))
        .map_err(|error| unfit(format!("it cannot be read: {error}")))?;
    let bytes = content.len();
    let wrong = || format!("its {bytes} bytes are not what is wanted: {right} on one line");
    let text = str::from_utf8(&content).map_err(|_| unfit(wrong()))?.trim();
    if text.is_empty() {
        return Err(unfit(format!("it is empty ({bytes} bytes, all of them blanks)")));
    }
    if !text.chars().all(allowed) {
        return Err(unfit(wrong()));
    }
    Ok(Secret::new(text.to_owned()))
}
