//! The folder with the access token, which is the program's user's alone and goes with the program.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::cli::Failed;
use crate::credential::Secret;

/// A folder that goes when this is dropped.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes one of a name that nobody can have taken before.
    pub(super) fn make() -> Result<Self, Failed> {
        let name = format!("credential-relay-{}-{:016x}", std::process::id(), fastrand::u64(..));
        let place = std::env::temp_dir();
        let path = place.join(name);
        DirBuilder::new().mode(0o700).create(&path).map_err(|error| {
            let said = "no folder for the access token can be made in";
            let fix = "set TMPDIR to one in which this user may write";
            Failed::Start(format!("{said} {}: {error}; {fix}", place.display()))
        })?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves the token's file to this user alone, and gives the token.
    pub(super) fn keep_private(&self, file: &Path) -> Result<Secret, Failed> {
        let kept = fs::set_permissions(file, Permissions::from_mode(0o600))
            .and_then(|()| fs::read_to_string(file));
        kept.map(Secret::new).map_err(|error| Failed::Start(format!("{}: {error}", file.display())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "the access token's folder could not be removed");
        }
    }
}
