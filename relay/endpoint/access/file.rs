//! The file in which an application finds its access token.

use std::fmt;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tracing::warn;
use zeroize::Zeroizing;

use crate::access::{AccessToken, NoRandomness, TokenError};

/// Everybody may read it: the application runs under a user of its own, and reaches the file
/// through a mount that no other container of the pod has.
const MODE: u32 = 0o444;
/// The mode of the folders that lead there, where the relay makes them.
const FOLDER_MODE: u32 = 0o755;

/// Reads the token from its file, or writes a fresh one if there is no file; says whether it wrote it.
///
/// The file appears whole, without a newline (which makes botocore, JavaScript, Go, Java and .NET
/// fail), and if another process writes it at the same time, its token is taken.
///
/// # Errors
/// If the file cannot be read or written, or holds no access token.
pub fn load_or_create(path: &Path) -> Result<(AccessToken, bool), TokenFileError> {
    let failed = |fault| TokenFileError { path: path.to_owned(), fault };
    if let Some(token) = load(path).map_err(failed)? {
        return Ok((token, false));
    }
    let token = AccessToken::generate().map_err(|error| failed(Fault::Random(error)))?;
    match create(path, &token) {
        Ok(()) => Ok((token, true)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = load(path).and_then(|found| found.ok_or(Fault::Write(error)));
            found.map(|token| (token, false)).map_err(failed)
        }
        Err(error) => Err(failed(Fault::Write(error))),
    }
}

/// The token in a file, if there is a file.
fn load(path: &Path) -> Result<Option<AccessToken>, Fault> {
    // Opening a named pipe would wait for a writer.
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(Fault::NotAFile),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Fault::Read(error)),
    }
    // One byte more than is allowed, with room for the newline that is trimmed.
    let most = AccessToken::LONGEST + 3;
    let mut text = Zeroizing::new(String::with_capacity(most));
    fs::File::open(path)
        .and_then(|file| file.take(most as u64).read_to_string(&mut text))
        .map_err(Fault::Read)?;
    let trimmed = text.trim_ascii();
    let token = trimmed.parse().map_err(Fault::Text)?;
    if trimmed.len() < text.len() {
        warn!(
            path = %path.display(),
            token_characters = trimmed.len(),
            blanks_around_it = text.len() - trimmed.len(),
            "access.token_file has blanks or newlines around the token: they are ignored here, but several SDKs fail on them"
        );
    }
    Ok(Some(token))
}

/// Writes a file that was not there, whole or not at all: it is written under another name and
/// then linked, which fails if the name has been taken meanwhile.
fn create(path: &Path, token: &AccessToken) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    create_folder(folder)?;
    let unlinked = Draft::new(folder.join(format!(
        ".token-{}-{:016x}",
        std::process::id(),
        fastrand::u64(..)
    )));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unlinked.0)?;
    file.write_all(token.expose().as_bytes())?;
    // The mode at creation is narrowed by the process's umask; this is not.
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.sync_all()?;
    fs::hard_link(&unlinked.0, path)
}

/// Makes a folder, and those above it, through which everybody can reach a file: the umask narrows
/// a folder's mode at creation. One that is there already is its owner's matter.
fn create_folder(folder: &Path) -> io::Result<()> {
    let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    let missing: Vec<_> = folder.ancestors().take_while(is_missing).collect();
    for folder in missing.into_iter().rev() {
        match fs::create_dir(folder) {
            Ok(()) => fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A file's first name, which goes when it has its last one or could not get it.
struct Draft(PathBuf);

impl Draft {
    fn new(path: PathBuf) -> Self {
        Self(path)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            warn!(path = %self.0.display(), %error, "a draft of an access token's file could not be removed");
        }
    }
}

/// An access token that could not be had from its file.
#[derive(Debug)]
pub struct TokenFileError {
    path: PathBuf,
    fault: Fault,
}

#[derive(Debug)]
enum Fault {
    NotAFile,
    Read(io::Error),
    Text(TokenError),
    Random(NoRandomness),
    Write(io::Error),
}

impl fmt::Display for TokenFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "access.token_file {}: ", self.path.display())?;
        match &self.fault {
            Fault::NotAFile => f.write_str(
                "this is no file; give the path of one, which the relay writes if it is not there",
            ),
            Fault::Read(error) if error.kind() == io::ErrorKind::InvalidData => f.write_str(
                "it holds bytes that are no text; an access token is printable ASCII without blanks",
            ),
            Fault::Read(error) => write!(f, "it cannot be read: {error}"),
            Fault::Text(error) => write!(
                f,
                "{error}; remove the file, and the relay writes one with a fresh token"
            ),
            Fault::Random(error) => write!(f, "{error}"),
            Fault::Write(error) => write!(
                f,
                "it is not there and cannot be written: {error}; the folder must be one that the relay may write to, such as a memory volume"
            ),
        }
    }
}

impl std::error::Error for TokenFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            Fault::Read(error) | Fault::Write(error) => Some(error),
            Fault::NotAFile | Fault::Text(_) | Fault::Random(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_file_that_is_not_there_is_written_for_everybody_to_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("payments/deep/token");
        let (token, written) = load_or_create(&path).unwrap();
        assert!(written);
        assert_eq!(fs::read_to_string(&path).unwrap(), token.expose());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o444);
        assert_eq!(names(path.parent().unwrap()), ["token"]);
        let (again, written) = load_or_create(&path).unwrap();
        assert_eq!((again.expose(), written), (token.expose(), false));
    }

    #[test]
    fn who_comes_second_takes_the_first_ones_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let tokens: Vec<_> = std::thread::scope(|scope| {
            let writers: Vec<_> =
                (0..8).map(|_| scope.spawn(|| load_or_create(&path).unwrap().0)).collect();
            writers.into_iter().map(|w| w.join().unwrap()).collect()
        });
        let written = fs::read_to_string(&path).unwrap();
        assert!(tokens.iter().all(|token| token.expose() == written));
        assert_eq!(names(folder.path()), ["token"]);
        let taken = create(&path, &tokens[0]).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(names(folder.path()), ["token"]);
    }

    #[test]
    fn blanks_around_a_token_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "token-of-a-test-0001\r\n").unwrap();
        assert_eq!(load_or_create(&path).unwrap().0.expose(), "token-of-a-test-0001");
    }

    #[test]
    fn what_is_no_token_is_refused_with_the_setting_the_path_and_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for (content, expected) in [
            (&b""[..], "has 0 characters"),
            (b"hunter2\n", "has 7 characters"),
            (b"hunter2 hunter2 hunter2", "blanks or newlines among"),
            (b"\xef\xbb\xbfhunter2hunter2hunter2", "byte order mark"),
            (b"hunter2\xff\xff\xff", "no text"),
            (&[b'x'; AccessToken::LONGEST + 50], "has 8195 characters"),
        ] {
            fs::write(&path, content).unwrap();
            let error = load_or_create(&path).unwrap_err().to_string();
            let start = format!("access.token_file {}: ", path.display());
            assert!(error.starts_with(&start), "{error}");
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let error = load_or_create(folder.path()).unwrap_err().to_string();
        assert!(error.contains("this is no file"), "{error}");
        let below_a_file = load_or_create(&path.join("token")).unwrap_err().to_string();
        assert!(below_a_file.contains("access.token_file"), "{below_a_file}");
    }
}
