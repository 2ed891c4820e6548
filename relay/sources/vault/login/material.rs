//! What a login shows to Vault: read from files at each login, trimmed and checked.

use std::io;
use std::path::Path;

use ring::digest;
use tokio::task::spawn_blocking;

use super::super::errors::fail;
use crate::credential::Secret;
use crate::failure::{Cause, Failure};
use crate::files;

/// JWTs, tokens and secret ids have a few kilobytes at most.
const LARGEST: u64 = 64 << 10;

/// What is told apart by what it is of, not by what it says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of several texts, whose borders count.
    pub(super) fn of(texts: &[&Secret]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for text in texts {
            context.update(&text.len().to_be_bytes());
            context.update(text.expose().as_bytes());
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }
}

/// Reads a token, an id or a JWT.
///
/// # Errors
/// What is wrong with the file, without a word of its text.
pub(super) async fn read(setting: &'static str, path: &Path) -> Result<Secret, Failure> {
    read_of(setting, path, "visible ASCII characters", |c| c.is_ascii_graphic()).await
}

/// Reads a password, in which more is allowed.
///
/// # Errors
/// What is wrong with the file, without a word of its text.
pub(super) async fn read_password(setting: &'static str, path: &Path) -> Result<Secret, Failure> {
    read_of(setting, path, "text without control characters", |c| !c.is_control()).await
}

async fn read_of(
    setting: &'static str,
    path: &Path,
    right: &'static str,
    allows: impl Fn(char) -> bool,
) -> Result<Secret, Failure> {
    let unfit =
        |why: String| fail(Cause::NotConfigured, format!("{setting} {}: {why}", path.display()));
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
    if !text.chars().all(allows) {
        return Err(unfit(wrong()));
    }
    Ok(Secret::new(text.to_owned()))
}
