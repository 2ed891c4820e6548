//! When the configuration of a relay that runs is read again: at SIGHUP, and when its file has changed.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};

use crate::config::environment::Environment;
use crate::config::{Config, load};
use crate::files::Aside;
use crate::hardening::Sandbox;

/// How often the file is looked at. The kubelet brings what was changed in a ConfigMap within a minute or
/// two, and a look costs one call.
const LOOK: Duration = Duration::from_secs(10);

/// A file that has changed may be half written: it is read once it stays as it is for so long.
const SETTLED: Duration = Duration::from_secs(1);

/// So often one is waited for that goes on changing.
const UNSETTLED: u32 = 5;

/// A mount that hangs ends the read, and nothing else.
const READ: Duration = Duration::from_secs(10);

/// What was refused is tried again after so many looks: what was wrong may lie beside the file, such as a
/// Secret that comes after the ConfigMap which names it.
const LOOKS_WHILE_REFUSED: u32 = 3;

/// Where the configuration comes from, and when it is read again.
pub enum Reloads {
    /// Never: what runs was not made from what can change.
    Never,
    /// When it is asked for, or its file has changed.
    Wanted(Box<Watch>),
}

/// A configuration that is watched.
pub struct Watch {
    from: From,
    hangup: Signal,
    aside: Aside,
    sandbox: Sandbox,
    /// How many looks there were since what was read last was refused, if it was.
    refused: Option<u32>,
}

enum From {
    /// A process's own environment does not change.
    Environment,
    File {
        path: PathBuf,
        /// What it looked like when it was read.
        read: Look,
    },
}

/// What tells a file from what it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Missing,
    /// Something that is no file: to open it may hang.
    Other,
    There {
        device: u64,
        inode: u64,
        modified: (i64, i64),
        changed: (i64, i64),
        size: u64,
    },
}

impl Look {
    /// Links are followed: a ConfigMap's volume changes by one.
    fn at(path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(file) if file.is_file() => Self::There {
                device: file.dev(),
                inode: file.ino(),
                modified: (file.mtime(), file.mtime_nsec()),
                changed: (file.ctime(), file.ctime_nsec()),
                size: file.size(),
            },
            Ok(_) => Self::Other,
            Err(_) => Self::Missing,
        }
    }
}

impl Reloads {
    /// Watches the configuration that is read from `file`, or from the environment alone. From now on SIGHUP does
    /// not end the program. It must be called within a tokio runtime, and before the configuration is read for
    /// the first time.
    ///
    /// # Errors
    /// If the operating system does not let it.
    pub fn of(file: Option<PathBuf>) -> io::Result<Self> {
        let from = match file {
            None => From::Environment,
            Some(path) => From::File { read: Look::at(&path), path },
        };
        let hangup = signal(SignalKind::hangup())?;
        let (aside, sandbox, refused) = (Aside::default(), Sandbox::Open, None);
        Ok(Self::Wanted(Box::new(Watch { from, hangup, aside, sandbox, refused })))
    }

    /// The same of a relay in that sandbox, which refuses what it does not let.
    #[must_use]
    pub fn within(mut self, sandbox: Sandbox) -> Self {
        if let Self::Wanted(watch) = &mut self {
            watch.sandbox = sandbox;
        }
        self
    }

    /// Notes whether what was read last is in use.
    pub(super) fn note(&mut self, in_use: bool) {
        if let Self::Wanted(watch) = self {
            watch.refused = (!in_use).then_some(0);
        }
    }

    /// Waits until the configuration is wanted anew, and reads it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(super) async fn next(&mut self) -> Result<Config, String> {
        match self {
            Self::Never => std::future::pending().await,
            Self::Wanted(watch) => watch.next().await,
        }
    }
}

impl Watch {
    async fn next(&mut self) -> Result<Config, String> {
        loop {
            let asked = tokio::select! {
                Some(()) = self.hangup.recv() => true,
                () = sleep(LOOK) => false,
            };
            let From::File { path, read } = &mut self.from else {
                if asked {
                    tracing::info!(
                        "SIGHUP: the configuration comes from the environment, which stays as it is while the relay runs"
                    );
                }
                continue;
            };
            let mut now = look(&mut self.aside, path).await;
            let again = self.refused.as_mut().is_some_and(|looks| {
                *looks += 1;
                looks.is_multiple_of(LOOKS_WHILE_REFUSED)
            });
            if !asked && !again && now == *read {
                continue;
            }
            for _ in 0..UNSETTLED {
                if asked || now == *read {
                    break;
                }
                sleep(SETTLED).await;
                let before = std::mem::replace(&mut now, look(&mut self.aside, path).await);
                if now == before {
                    break;
                }
            }
            *read = now;
            return load(&mut self.aside, path, now, &self.sandbox).await;
        }
    }
}

async fn look(aside: &mut Aside, path: &Path) -> Look {
    let path = path.to_owned();
    let looked = timeout(READ, aside.run(move || Look::at(&path))).await;
    looked.ok().and_then(Result::ok).unwrap_or(Look::Missing)
}

/// Reads it beside the thread that answers requests, and touches there all that it names.
async fn load(
    aside: &mut Aside,
    path: &Path,
    look: Look,
    sandbox: &Sandbox,
) -> Result<Config, String> {
    if look == Look::Other {
        return Err("file: it is not a regular file".to_owned());
    }
    let (path, sandbox) = (path.to_owned(), sandbox.clone());
    let read = move || {
        let config = load::load(Some(&path), &Environment::of_process())
            .map_err(|mistakes| mistakes.to_string())?;
        sandbox.covers(&config).map_err(|outside| outside.to_string())?;
        for file in named_by(&config) {
            // Only whether it answers counts.
            let _ = fs::metadata(file);
        }
        Ok(config)
    };
    match timeout(READ, aside.run(read)).await {
        Ok(Ok(read)) => read,
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => {
            Err(format!("it, or a file that it names, did not answer within {} s", READ.as_secs()))
        }
    }
}

/// Every file that an update touches.
fn named_by(config: &Config) -> impl Iterator<Item = &Path> {
    let of_profiles = config.profiles.values().flat_map(|profile| {
        let credentials = profile.credentials_file.iter().map(|file| file.path.as_path());
        profile.access.files().map(PathBuf::as_path).chain(credentials)
    });
    of_profiles.chain(config.files.iter().map(|(_, file)| file.as_path()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn all_that_an_update_touches_is_named() {
        let text = "{ sts: { region: eu-west-1, ca_cert: /ca.pem }, profiles: { a: {
            source: { file: { path: /a.json } },
            chain: [{ role_arn: 'arn:aws:iam::111122223333:role/hub' }],
            access: { token_file: /t/one, more_token_files: [/t/two] },
            credentials_file: { path: /c/credentials } } } }";
        let config = load::parse(text, &Environment::default()).unwrap();
        let named: Vec<_> = named_by(&config).collect();
        for path in ["/t/one", "/t/two", "/c/credentials", "/ca.pem"] {
            assert!(named.contains(&Path::new(path)), "{path} is not in {named:?}");
        }
    }

    const GOOD: &str = "{ profiles: { a: { source: { file: { path: /a.json } } } } }";

    fn watched(path: &Path) -> Reloads {
        Reloads::of(Some(path.to_owned())).unwrap()
    }

    async fn within(seconds: u64, reloads: &mut Reloads) -> Option<Result<Config, String>> {
        tokio::time::timeout(Duration::from_secs(seconds), reloads.next()).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_read_again_once_it_has_changed_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.yaml");
        fs::write(&path, GOOD).unwrap();
        let mut reloads = watched(&path);
        assert!(within(3600, &mut reloads).await.is_none());
        fs::write(&path, GOOD.replace("a.json", "other.json")).unwrap();
        assert!(within(15, &mut reloads).await.unwrap().unwrap().profiles.contains_key("a"));
        assert!(within(3600, &mut reloads).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_wrong_is_told_once_and_what_is_mended_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.yaml");
        fs::write(&path, GOOD).unwrap();
        let mut reloads = watched(&path);
        fs::write(&path, "profiles: 1").unwrap();
        let error = within(15, &mut reloads).await.unwrap().unwrap_err();
        assert!(error.contains("profiles: "), "{error}");
        assert!(within(3600, &mut reloads).await.is_none());
        fs::remove_file(&path).unwrap();
        let error = within(15, &mut reloads).await.unwrap().unwrap_err();
        assert!(error.contains("there is no such file"), "{error}");
        fs::write(&path, GOOD).unwrap();
        assert!(within(15, &mut reloads).await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_refused_is_read_again_and_what_is_no_file_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.yaml");
        fs::write(&path, GOOD).unwrap();
        let mut reloads = watched(&path);
        reloads.note(false);
        assert!(within(35, &mut reloads).await.unwrap().is_ok());
        reloads.note(true);
        assert!(within(3600, &mut reloads).await.is_none());
        fs::remove_file(&path).unwrap();
        symlink("/dev/zero", &path).unwrap();
        let error = within(15, &mut reloads).await.unwrap().unwrap_err();
        assert!(error.contains("not a regular file"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_link_of_a_projected_volume_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for version in ["1", "2"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("relay.yaml"), GOOD).unwrap();
        }
        symlink("1", at("..data")).unwrap();
        symlink("..data/relay.yaml", at("relay.yaml")).unwrap();
        let mut reloads = watched(&at("relay.yaml"));
        assert!(within(60, &mut reloads).await.is_none());
        symlink("2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert!(within(15, &mut reloads).await.unwrap().is_ok());
    }
}
