//! The folders that the process has confined itself to, if it has: what lies in them, and what an
//! error means that comes of it.

use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{Access, access};

/// Set once, when the sandbox has been closed: it cannot be opened again.
static CONFINED: OnceLock<Folders> = OnceLock::new();

/// Folders by their real paths, and what may be done in them. A file right below the root stands for
/// itself, since the root would be everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folders {
    read: Vec<PathBuf>,
    written: Vec<PathBuf>,
}

impl Folders {
    /// Adds a folder to read in.
    pub fn read_in(&mut self, folder: PathBuf) {
        if !self.let_read(&folder) {
            self.read.push(folder);
        }
    }

    /// Adds a folder to read and write in.
    pub fn write_in(&mut self, folder: PathBuf) {
        if !self.let_write(&folder) {
            self.written.push(folder);
        }
    }

    /// Those to read in alone.
    pub fn read(&self) -> &[PathBuf] {
        &self.read
    }

    /// Those to read and write in.
    pub fn written(&self) -> &[PathBuf] {
        &self.written
    }

    /// Whether what is at this real path may be read.
    pub fn let_read(&self, real: &Path) -> bool {
        self.read.iter().any(|folder| real.starts_with(folder)) || self.let_write(real)
    }

    /// Whether what is at this real path may be written.
    pub fn let_write(&self, real: &Path) -> bool {
        self.written.iter().any(|folder| real.starts_with(folder))
    }
}

/// Has errors of reading and writing explained from now on.
pub fn confined_to(folders: Folders) {
    // A process is confined once, but for tests of one process, where the first one counts.
    let _ = CONFINED.set(folders);
}

/// As many links one after the other as Linux follows.
const MOST_LINKS: usize = 40;

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The links on it that a kubelet swaps, each in the folder of its volume: those through
    /// `..data`, and that one itself.
    pub swapped: Vec<PathBuf>,
    /// Where it ends, without links; what is not there yet is taken for a file.
    pub end: PathBuf,
}

/// Follows a path through its links, as far as something is there: one that leads to what is still
/// to come leads there.
pub fn way(path: &Path) -> Way {
    let mut way = Way { swapped: Vec::new(), end: PathBuf::new() };
    let mut followed = 0;
    // What arguments and variables name may begin where the process works.
    let mut ahead = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    loop {
        let mut components = ahead.components();
        let Some(component) = components.next() else { return way };
        let rest = components.as_path().to_owned();
        let there = way.end.join(component);
        ahead = match std::fs::read_link(&there) {
            Ok(target) if component != Component::ParentDir && followed < MOST_LINKS => {
                followed += 1;
                if is_of_a_volume(&target) {
                    way.swapped.push(there);
                }
                target.join(rest)
            }
            _ if component == Component::ParentDir => {
                way.end.pop();
                rest
            }
            _ => {
                way.end = there;
                rest
            }
        };
    }
}

/// Whether a link is one of a projected volume: `token -> ..data/token`, `..data -> ..2026_11_29`.
fn is_of_a_volume(target: &Path) -> bool {
    matches!(target.components().next(), Some(Component::Normal(first)) if first.as_encoded_bytes().starts_with(b".."))
}

/// Where a path leads to in the end.
pub fn real(path: &Path) -> PathBuf {
    way(path).end
}

/// Says of a permission that is denied whether it is the sandbox that denies it: the permissions
/// of the file are asked, which know nothing of the sandbox.
pub fn explain(error: io::Error, path: &Path) -> io::Error {
    match CONFINED.get() {
        Some(folders) if error.kind() == ErrorKind::PermissionDenied && is_permitted(path) => {
            io::Error::new(ErrorKind::PermissionDenied, denied(folders, &real(path)))
        }
        _ => error,
    }
}

fn is_permitted(path: &Path) -> bool {
    match path.parent() {
        Some(folder) if !path.exists() => access(folder, Access::WRITE_OK | Access::EXEC_OK),
        _ => access(path, Access::READ_OK),
    }
    .is_ok()
}

fn denied(folders: &Folders, real: &Path) -> String {
    if folders.let_read(real) {
        return "the relay's sandbox denies it: the folder was made anew since the relay has started; keep the \
                folder and change what is in it, or restart the relay"
            .to_owned();
    }
    let folder = real.parent().unwrap_or(real).display();
    format!(
        "the relay's sandbox denies it: it leads to {folder}, which was no folder of the configuration when the \
         relay started; keep it in its own folder, or restart the relay"
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_lies_in_a_folder_is_let_and_what_only_begins_alike_is_not() {
        let mut folders = Folders::default();
        folders.read_in("/run/secrets".into());
        folders.write_in("/run/relay".into());
        assert!(folders.let_read(Path::new("/run/secrets/..data/token")));
        assert!(folders.let_read(Path::new("/run/relay/token")));
        assert!(!folders.let_read(Path::new("/run/secrets-of-another")));
        assert!(folders.let_write(Path::new("/run/relay/deep/token")));
        assert!(!folders.let_write(Path::new("/run/secrets/token")));
    }

    #[test]
    fn a_folder_in_one_that_is_known_is_not_added() {
        let mut folders = Folders::default();
        folders.write_in("/run/relay".into());
        folders.read_in("/run/relay/payments".into());
        assert!(folders.read().is_empty());
        assert_eq!(folders.written(), [PathBuf::from("/run/relay")]);
    }

    #[test]
    fn a_real_path_is_known_as_far_as_something_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir(base.join("there")).unwrap();
        symlink("there", base.join("link")).unwrap();
        assert_eq!(real(&base.join("link/not/yet")), base.join("there/not/yet"));
        assert_eq!(real(&base.join("link")), base.join("there"));
        assert_eq!(real(&base.join("link/../other")), base.join("other"));
        symlink("there/still/to-come", base.join("ahead")).unwrap();
        assert_eq!(real(&base.join("ahead")), base.join("there/still/to-come"));
        let here = std::env::current_dir().unwrap();
        assert_eq!(real(Path::new("file")), real(&here).join("file"));
        symlink("round", base.join("round")).unwrap();
        assert_eq!(real(&base.join("round/file")), base.join("round/file"));
    }

    #[test]
    fn links_of_a_projected_volume_are_known_from_others() {
        let folder = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(base.join("volume/..1/aws")).unwrap();
        symlink("..1", base.join("volume/..data")).unwrap();
        symlink("..data/aws", base.join("volume/aws")).unwrap();
        symlink("volume/aws", base.join("short")).unwrap();
        let way = way(&base.join("short/token"));
        assert_eq!(way.swapped, [base.join("volume/aws"), base.join("volume/..data")]);
        assert_eq!(way.end, base.join("volume/..1/aws/token"));
    }

    #[test]
    fn what_is_denied_tells_the_folder_or_that_it_was_made_anew() {
        let mut folders = Folders::default();
        folders.read_in("/run/secrets".into());
        assert!(denied(&folders, Path::new("/etc/other/token")).contains("leads to /etc/other,"));
        assert!(denied(&folders, Path::new("/run/secrets/token")).contains("made anew"));
    }
}
