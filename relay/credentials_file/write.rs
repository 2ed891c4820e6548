//! The file itself: what stands in it, and how it comes and goes whole.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::config::values::ProfileName;
use crate::credential::{Credential, Secret, Validity};
use crate::files;

/// What the relay knows its own files by.
const HEADER: &str = "# Written by credential-relay, which overwrites and removes it: keep nothing of your own here.\n";

/// The text of the file.
pub(super) fn text(
    profile: &ProfileName,
    section: &str,
    credential: &Credential,
) -> Zeroizing<String> {
    let end = match &credential.validity {
        Validity::Until(life) => format!("valid until {}", life.expiry().wall),
        Validity::Unlimited => "without a known end".to_owned(),
    };
    let token = credential.session.token().map_or("", Secret::expose);
    let id = credential.access_key_id.as_str();
    let secret = credential.secret_access_key.expose();
    // In one piece: what a growing text leaves behind would not be wiped.
    let size = HEADER.len() + section.len() + id.len() + secret.len() + token.len() + 256;
    let mut text = Zeroizing::new(String::with_capacity(size));
    for part in [HEADER, "# Profile ", profile.as_str(), ", ", &end, "\n[", section, "]\n"] {
        text.push_str(part);
    }
    let lines = [
        ("aws_access_key_id", id),
        ("aws_secret_access_key", secret),
        ("aws_session_token", token),
    ];
    for (name, value) in lines.into_iter().filter(|(_, value)| !value.is_empty()) {
        for part in [name, " = ", value, "\n"] {
            text.push_str(part);
        }
    }
    text
}

/// What stands at a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum There {
    Nothing,
    Own,
    /// The start of the relay's own: one that was killed as it wrote.
    Begun,
    Foreign(&'static str),
}

fn what_is_at(path: &Path) -> io::Result<There> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Ok(There::Foreign(NO_FILE)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(There::Nothing),
        Err(error) => return Err(error),
    }
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let mut start = Vec::new();
    file.take(HEADER.len() as u64).read_to_end(&mut start)?;
    Ok(match start {
        start if start == HEADER.as_bytes() => There::Own,
        start if HEADER.as_bytes().starts_with(&start) => There::Begun,
        _ => There::Foreign(FOREIGN),
    })
}

const NO_FILE: &str = "what is there is no file; give a path that the relay has for itself";

const FOREIGN: &str = "what is there was not written by credential-relay (it would have its header), and is left as it \
                       is; give a path that the relay has for itself, or remove the file";

/// Whether the path is free for the relay to write at: nothing is there, or a file of its own.
///
/// # Errors
/// That it is something else, or cannot be looked at.
pub(super) fn is_free(path: &Path) -> io::Result<()> {
    let why = match what_is_at(path)? {
        There::Nothing | There::Own => return Ok(()),
        There::Begun => FOREIGN,
        There::Foreign(why) => why,
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}

/// A path, and the file that was put there.
pub(super) struct Place {
    path: PathBuf,
    /// Where a file stands before it is whole. Its name does not change, so that a relay finds what
    /// one before it left there.
    draft: PathBuf,
    /// Device and inode of what was written last: another relay may have put its own there since.
    written: Option<(u64, u64)>,
    /// Whether a file from before was looked for.
    begun: bool,
}

impl Place {
    pub(super) fn at(path: PathBuf) -> Self {
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".draft");
        let draft = path.with_file_name(name);
        Self { path, draft, written: None, begun: false }
    }

    /// Puts a file there, whole or not at all, in the place of one of the relay's own.
    pub(super) fn write(&mut self, content: &str) -> io::Result<()> {
        is_free(&self.path)?;
        self.sweep()?;
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.draft).map_err(
                |error| {
                    let error = files::explain(error, &self.draft);
                    io::Error::new(error.kind(), format!("{}: {error}", self.draft.display()))
                },
            )?;
        let put = file
            .write_all(content.as_bytes())
            .and_then(|()| file.metadata())
            .and_then(|metadata| fs::rename(&self.draft, &self.path).map(|()| metadata));
        match put {
            Ok(metadata) => {
                self.written = Some((metadata.dev(), metadata.ino()));
                self.begun = true;
                Ok(())
            }
            Err(error) => {
                let _ = fs::remove_file(&self.draft);
                Err(error)
            }
        }
    }

    /// Removes what was written; the first time, what an earlier relay has left too.
    pub(super) fn remove(&mut self) -> io::Result<()> {
        let swept = self.sweep();
        self.remove_written().and(swept)
    }

    fn remove_written(&mut self) -> io::Result<()> {
        let there = match fs::symlink_metadata(&self.path) {
            Ok(metadata) => (metadata.dev(), metadata.ino()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (self.written, self.begun) = (None, true);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if !self.begun || self.written == Some(there) {
            is_free(&self.path)?;
            fs::remove_file(&self.path)?;
        }
        (self.written, self.begun) = (None, true);
        Ok(())
    }

    /// Removes a draft that a relay left as it was killed. What is another's stays.
    fn sweep(&self) -> io::Result<()> {
        match what_is_at(&self.draft)? {
            There::Own | There::Begun => fs::remove_file(&self.draft),
            There::Nothing | There::Foreign(_) => Ok(()),
        }
    }
}
