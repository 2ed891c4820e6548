//! A file that lines are appended to. Somebody else may move it away at any time: a new one takes its place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::files;

/// One file, open.
#[derive(Debug)]
pub(super) struct Appended {
    path: PathBuf,
    file: File,
    /// Whether the last line could be written: only the first that cannot is told.
    well: bool,
    /// Whether a part of a line may stand at the end, which the next must not be glued to.
    torn: bool,
}

impl Appended {
    /// Opens it, and makes it, for the relay's own user alone, if it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        Ok(Self { file, path: path.to_owned(), well: true, torn: ends_torn(path) })
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if !self.is_in_place() {
            self.file = open(&self.path)?;
            self.torn = ends_torn(&self.path);
        }
        write(&mut self.file, line, &mut self.torn)
    }

    /// Whether what is open is what stands at the path.
    fn is_in_place(&self) -> bool {
        let which = |file: fs::Metadata| (file.dev(), file.ino());
        let there = fs::metadata(&self.path).map(which).ok();
        there.is_some() && there == self.file.metadata().map(which).ok()
    }
}

/// Writes a line of its own; `torn` is whether a part of a line alone was written last.
fn write(out: &mut impl Write, line: &[u8], torn: &mut bool) -> io::Result<()> {
    if *torn {
        out.write_all(b"\n")?;
        *torn = false;
    }
    let mut left = line;
    while !left.is_empty() {
        match out.write(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                left = &left[written..];
                *torn = !left.is_empty();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A named pipe would hold its writer up until somebody reads, so it is a regular file or an error.
fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).custom_flags(flags);
    let file = options.open(path).map_err(|error| files::explain(error, path))?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
    }
}

/// Whether a file ends within a line: a relay before this one may have been killed, or its disk full. One that
/// cannot be read is taken for whole.
fn ends_torn(path: &Path) -> bool {
    let last = || {
        let without_waiting = OFlags::NONBLOCK.bits().cast_signed();
        let mut file = OpenOptions::new().read(true).custom_flags(without_waiting).open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        io::Result::Ok(byte)
    };
    last().is_ok_and(|byte| byte != *b"\n")
}

impl Write for Appended {
    /// A whole line, or an error.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = self.append(line);
        match &written {
            Ok(()) => self.well = true,
            Err(error) if self.well => {
                self.well = false;
                tracing::warn!(
                    path = %self.path.display(),
                    %error,
                    "the audit cannot be written; what comes until it can is lost"
                );
            }
            Err(_) => {}
        }
        written.map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_moved_away_is_followed_by_another() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("audit.jsonl"), folder.path().join("audit.1"));
        let mut out = Appended::open(&path).unwrap();
        out.write_all(b"one\n").unwrap();
        fs::rename(&path, &moved).unwrap();
        out.write_all(b"two\n").unwrap();
        assert_eq!(fs::read(&moved).unwrap(), b"one\n");
        assert_eq!(fs::read(&path).unwrap(), b"two\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_file_is_refused() {
        for path in ["/dev/full", "/"] {
            assert!(Appended::open(Path::new(path)).is_err(), "{path}");
        }
    }

    /// A disk with room for so many bytes.
    struct Disk(usize, Vec<u8>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = bytes.len().min(self.0);
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0 -= fits;
            self.1.extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_broke_off_is_not_glued_to_the_next_and_leaves_no_blank_one_otherwise() {
        for (room, left) in [(0, "two\n"), (2, "on\ntwo\n"), (4, "one\ntwo\n")] {
            let (mut disk, mut torn) = (Disk(room, Vec::new()), false);
            let _ = write(&mut disk, b"one\n", &mut torn);
            assert!(write(&mut disk, b"lost\n", &mut torn).is_err());
            disk.0 = 100;
            write(&mut disk, b"two\n", &mut torn).unwrap();
            assert_eq!(String::from_utf8(disk.1).unwrap(), left, "{room}");
        }
    }

    #[test]
    fn what_a_relay_before_left_unfinished_is_not_glued_to_the_first_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        for (left, found) in [("", "two\n"), ("one\n", "one\ntwo\n"), ("on", "on\ntwo\n")] {
            fs::write(&path, left).unwrap();
            Appended::open(&path).unwrap().write_all(b"two\n").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), found);
        }
    }

    #[test]
    fn a_new_file_begins_with_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut out = Appended::open(&path).unwrap();
        out.torn = true;
        fs::rename(&path, folder.path().join("audit.1")).unwrap();
        out.write_all(b"two\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two\n");
    }
}
