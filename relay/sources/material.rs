//! Secret texts of one line, in files that somebody else keeps: tokens, ids, passwords. They are
//! read at each use and trimmed.

use std::path::{Path, PathBuf};

use crate::credential::Secret;
use crate::files::{self, Aside};

/// JWTs, tokens and secret ids have a few kilobytes at most.
const LARGEST: u64 = 64 << 10;

/// A file that is read again and again.
pub(super) struct Material {
    path: PathBuf,
    aside: Aside,
}

impl Material {
    /// The file at `path`.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, aside: Aside::default() }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a token, an id or a JWT.
    ///
    /// # Errors
    /// What is wrong with the file, without a word of its text.
    pub(super) async fn token(&mut self) -> Result<Secret, String> {
        self.line("visible ASCII characters", |c| c.is_ascii_graphic()).await
    }

    /// Reads a line in which only what is `allowed`, in words `right`, may stand.
    ///
    /// # Errors
    /// What is wrong with the file, without a word of its text.
    pub(super) async fn line(
        &mut self,
        right: &'static str,
        allowed: impl Fn(char) -> bool,
    ) -> Result<Secret, String> {
        let unfit = |why: String, path: &Path| format!("{}: {why}", path.display());
        let path = self.path.clone();
        let content = self.aside.run(move || files::read(&path, LARGEST)).await;
        let content = content
            .flatten()
            .map_err(|error| unfit(format!("it cannot be read: {error}"), &self.path))?;
        let bytes = content.len();
        let wrong = || {
            let why = format!("its {bytes} bytes are not what is wanted: {right} on one line");
            unfit(why, &self.path)
        };
        let text = str::from_utf8(&content).map_err(|_| wrong())?.trim();
        if text.is_empty() {
            let why = format!("it is empty ({bytes} bytes, all of them blanks)");
            return Err(unfit(why, &self.path));
        }
        if !text.chars().all(allowed) {
            return Err(wrong());
        }
        Ok(Secret::new(text.to_owned()))
    }
}
