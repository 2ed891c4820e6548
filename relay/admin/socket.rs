//! The Unix socket that only the relay's own user (and root) can connect to.

use std::fmt;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// The socket's file. It is removed when this is dropped, unless another took its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // It may go meanwhile, and nothing depends on it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Binds the socket. It appears at its path with mode 0600 already, so that nobody else can slip
/// into its queue before. A socket that a relay left behind is replaced; that of a relay that runs
/// is not, nor is anything else that somebody's mistyped path leads to.
pub(super) fn bind(path: &Path) -> Result<(UnixListener, SocketFile), SocketError> {
    bind_quietly(path).map_err(|cause| SocketError { path: path.to_owned(), cause })
}

fn bind_quietly(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(_) | Err(_) => {}
    }
    // Only a refusal says that nobody listens: another user's socket cannot be connected to, but
    // its relay runs.
    match UnixStream::connect(path) {
        Ok(_) => return Err(io::Error::from(io::ErrorKind::AddrInUse)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
            ) => {}
        Err(error) => return Err(error),
    }
    // By chance, since relays of several containers that share the folder all have process id 1.
    let private = folder.join(format!(".{:08x}", fastrand::u32(..)));
    DirBuilder::new().mode(0o700).create(&private)?;
    let bound = bind_privately(&private.join("s"), path);
    let _ = fs::remove_dir_all(&private);
    bound
}

fn bind_privately(hidden: &Path, path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let listener = UnixListener::bind(hidden)?;
    fs::set_permissions(hidden, Permissions::from_mode(0o600))?;
    let file = SocketFile { path: path.to_owned(), identity: identity(hidden)? };
    fs::rename(hidden, path)?;
    Ok((listener, file))
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
            io::ErrorKind::AlreadyExists => {
                "; what is there is no socket, and is left as it is: give a path of its own"
            }
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
        let (listener, file) = first;
        drop(listener);
        let second = bind(&path).unwrap();
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        drop(file);
        assert!(path.exists(), "it is the second one's by now");
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let precious = folder.path().join("precious");
        fs::write(&precious, "kept").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&precious, &link).unwrap();
        for path in [&precious, &link] {
            let error = bind(path).unwrap_err().to_string();
            assert!(error.contains("what is there is no socket"), "{error}");
        }
        assert!(bind(folder.path()).is_err());
        assert!(bind(&precious.join("below")).is_err());
        assert_eq!(fs::read_to_string(&link).unwrap(), "kept");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[tokio::test]
    async fn what_took_its_place_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let (_listener, file) = bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "kept").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "kept");
    }

    /// The configuration allows as much (`LONGEST_SOCKET`), whatever the part of the last name.
    #[tokio::test]
    async fn the_longest_path_with_the_shortest_name_can_be_bound() {
        let folder = tempfile::tempdir().unwrap();
        let pad = 97 - "//s".len() - folder.path().as_os_str().len();
        let path = folder.path().join("x".repeat(pad)).join("s");
        assert_eq!(path.as_os_str().len(), 97);
        bind(&path).unwrap();
    }
}
