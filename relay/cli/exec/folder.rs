//! The folder with the access token, which is the program's user's alone and goes with the program.

use std::ffi::OsString;
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
        let place = place(std::env::var_os("TMPDIR"))?;
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

/// Where it is made. The program may work in another folder, so its path is absolute.
fn place(tmpdir: Option<OsString>) -> Result<PathBuf, Failed> {
    let given = tmpdir.filter(|given| !given.is_empty()).unwrap_or_else(|| "/tmp".into());
    std::path::absolute(&given)
        .map_err(|error| Failed::Start(format!("TMPDIR {}: {error}", given.display())))
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "the access token's folder could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_absolute_whatever_tmpdir_says() {
        let here = std::env::current_dir().unwrap();
        for (given, expected) in [
            (None, "/tmp".into()),
            (Some(""), "/tmp".into()),
            (Some("/var/tmp"), "/var/tmp".into()),
            (Some("some/where"), here.join("some/where")),
        ] {
            assert_eq!(place(given.map(OsString::from)).unwrap(), expected, "{given:?}");
        }
    }
}
