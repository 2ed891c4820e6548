//! The file itself: what stands in it, and how it comes and goes whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::config::values::ProfileName;
use crate::credential::{Credential, Session, Validity};

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
    let token = match &credential.session {
        Session::Token(token) => token.expose(),
        Session::None => "",
    };
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

/// Whether the path is free for the relay to write at: nothing is there, or a file of its own.
///
/// # Errors
/// `NotFound` if nothing is there; else that it is something else, or cannot be looked at.
pub(super) fn is_free(path: &Path) -> io::Result<()> {
    let other = |why| io::Error::new(io::ErrorKind::InvalidInput, why);
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() {
        return Err(other("what is there is no file; give a path that the relay has for itself"));
    }
    let mut start = [0; HEADER.len()];
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    match whole(file, &mut start) {
        Ok(()) if start == HEADER.as_bytes() => Ok(()),
        Ok(()) => Err(other(FOREIGN)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(other(FOREIGN)),
        Err(error) => Err(error),
    }
}

const FOREIGN: &str = "what is there was not written by credential-relay (it would have its header), and is left as it \
                       is; give a path that the relay has for itself, or remove the file";

fn whole(mut file: File, into: &mut [u8]) -> io::Result<()> {
    file.read_exact(into)
}

/// A path, and the file that was put there.
pub(super) struct Place {
    path: PathBuf,
    /// Device and inode of what was written last: another relay may have put its own there since.
    written: Option<(u64, u64)>,
    /// Whether a file from before was looked for.
    begun: bool,
}

impl Place {
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, written: None, begun: false }
    }

    /// Puts a file there, whole or not at all, in the place of one of the relay's own.
    pub(super) fn write(&mut self, content: &str) -> io::Result<()> {
        match is_free(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let name = format!(".credentials-{}-{:016x}", std::process::id(), fastrand::u64(..));
        let draft = Draft(folder.join(name));
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft.0)?;
        file.write_all(content.as_bytes())?;
        let metadata = file.metadata()?;
        fs::rename(&draft.0, &self.path)?;
        self.written = Some((metadata.dev(), metadata.ino()));
        self.begun = true;
        Ok(())
    }

    /// Removes what was written; the first time, what an earlier relay has left too.
    pub(super) fn remove(&mut self) -> io::Result<()> {
        let there = match fs::symlink_metadata(&self.path) {
            Ok(metadata) => (metadata.dev(), metadata.ino()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (self.written, self.begun) = (None, true);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let first = !std::mem::replace(&mut self.begun, true);
        if first || self.written == Some(there) {
            is_free(&self.path)?;
            fs::remove_file(&self.path)?;
        }
        self.written = None;
        Ok(())
    }
}

/// A file's first name, which is gone once it has its last one.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
