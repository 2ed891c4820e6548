//! The Unix socket that only the relay's own user (and root) can connect to.

use std::fmt;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Binds the socket. It appears at its path with mode 0600 already, so that nobody else can slip
/// into its queue before. A file that a relay left behind is replaced; that of a relay that runs
/// is not.
pub(super) fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    bind_quietly(path).map_err(|cause| SocketError { path: path.to_owned(), cause })
}

fn bind_quietly(path: &Path) -> io::Result<UnixListener> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::from(io::ErrorKind::AddrInUse));
    }
    let private = folder.join(format!(".{}", std::process::id()));
    // Left over from a process with the same id that was killed right here.
    let _ = fs::remove_dir_all(&private);
    DirBuilder::new().mode(0o700).create(&private)?;
    let bound = bind_privately(&private.join("s"), path);
    let _ = fs::remove_dir_all(&private);
    bound
}

fn bind_privately(hidden: &Path, path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(hidden)?;
    fs::set_permissions(hidden, Permissions::from_mode(0o600))?;
    fs::rename(hidden, path)?;
    Ok(listener)
}

/// Why the socket could not be bound.
#[derive(Debug)]
pub struct SocketError {
    path: PathBuf,
    cause: io::Error,
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "admin.socket: cannot listen on {}: {}", self.path.display(), self.cause)?;
        f.write_str(match self.cause.kind() {
            io::ErrorKind::AddrInUse => "; another relay runs with that socket: give each its own",
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                "; it must lie in a folder that the relay's user may write to, such as an emptyDir"
            }
            io::ErrorKind::InvalidInput => "; a socket's path has at most 107 bytes",
            _ => "",
        })
    }
}

impl std::error::Error for SocketError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_private_and_replaces_only_what_is_dead() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/admin.sock");
        let first = bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let error = bind(&path).unwrap_err().to_string();
        assert!(error.contains("admin.socket") && error.contains("another relay"), "{error}");
        drop(first);
        bind(&path).unwrap();
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
