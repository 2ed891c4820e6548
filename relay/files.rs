//! Reading files that others wrote: regular ones alone, and no more of them than is sensible.

mod aside;
mod folders;

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use zeroize::Zeroizing;

pub use aside::{Aside, MOST as MOST_ASIDE};
pub use folders::{Folders, Way, confined_to, explain, real, way};

/// Reads a whole file of at most `most` bytes. What was read is wiped when it is dropped.
///
/// A named pipe would hold its reader up until somebody writes, and a device may never end, so
/// only regular files are read. A mount that hangs still holds the caller up: where a request
/// could wait for it, this belongs on another thread.
///
/// # Errors
/// As the operating system says, or that it is no regular file, or larger than `most`.
pub fn read(path: &Path, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let other = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, why);
    let without_waiting = OFlags::NONBLOCK.bits().cast_signed();
    let file = fs::OpenOptions::new().read(true).custom_flags(without_waiting).open(path);
    let file = file.map_err(|error| explain(error, path))?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(other("not a regular file"));
    }
    // In one piece: what a growing vector leaves behind would not be wiped.
    let size = usize::try_from(metadata.len().min(most)).unwrap_or(0);
    let mut content = Zeroizing::new(Vec::with_capacity(size + 32));
    file.take(most.saturating_add(1)).read_to_end(&mut content)?;
    if u64::try_from(content.len()).is_ok_and(|size| size <= most) {
        Ok(content)
    } else {
        Err(other("larger than any such file is"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_a_sensible_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap().as_slice(), b"12345");
        assert!(read(&path, 4).unwrap_err().to_string().contains("larger"));
        for special in ["/dev/zero", "/"] {
            let error = read(Path::new(special), 5).unwrap_err();
            assert!(error.to_string().contains("not a regular file"), "{error}");
        }
    }
}
