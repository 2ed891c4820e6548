//! What the process gives up once it runs, so that whoever takes it over, or sits beside it, gets
//! little: dumps and debuggers, swap, new privileges, files beyond its folders, system calls that it
//! never makes.
//!
//! [`memory::hide`] is for every command, before a secret is read. [`harden`] is for those that run on
//! and start no programs: what it denies would bind these too.

mod calls;
mod fence;
pub mod memory;
mod needs;

use std::fmt;
use std::path::PathBuf;

use crate::config::values::ProfileName;
use crate::config::{Config, Sandbox as Wish};
use crate::files::{self, Folders};
use fence::Fence;
use memory::Swap;
pub use needs::Needs;

/// What a process has confined itself to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// Nothing.
    Open,
    /// What its kernel has no Landlock for, or what has no folder: files anywhere, but no programs.
    WithoutPrograms,
    /// These folders, and no programs.
    Closed(Folders),
}

/// What a configuration wants that the sandbox does not let.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outside {
    /// A folder.
    Folder {
        /// The setting that names a file in it.
        setting: String,
        /// The folder.
        folder: PathBuf,
    },
    /// That programs run.
    Programs(ProfileName),
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder { setting, folder } => write!(
                f,
                "{setting}: {} is outside the relay's sandbox, which has the folders of the configuration that the \
                 relay started with; keep the file in one of them, or restart the relay",
                folder.display()
            ),
            Self::Programs(profile) => write!(
                f,
                "profiles.{profile}.source: it runs programs, which the relay's sandbox denies since the relay has \
                 started without such a source; restart the relay"
            ),
        }
    }
}

impl std::error::Error for Outside {}

impl Sandbox {
    /// Whether a relay in this sandbox can take a configuration into use.
    ///
    /// # Errors
    /// What lies outside, the first of it.
    pub fn covers(&self, config: &Config) -> Result<(), Outside> {
        let needs = Needs::of_relay(config, None);
        let folders = match (self, needs.programs) {
            (Self::Open, _) | (Self::WithoutPrograms, None) => return Ok(()),
            (Self::WithoutPrograms | Self::Closed(_), Some(profile)) => {
                return Err(Outside::Programs(profile));
            }
            (Self::Closed(folders), None) => folders,
        };
        let outside = |need: needs::Need| {
            let folder = need.outside(folders)?;
            Some(Outside::Folder { setting: need.setting, folder })
        };
        needs.files.into_iter().find_map(outside).map_or(Ok(()), Err)
    }
}

/// A sandbox that is required and cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sandbox: it is required and cannot be had: {}; mend it, or write best-effort",
            self.0
        )
    }
}

impl std::error::Error for Refused {}

/// Hardens the process, for good. It must be called before there is a second thread, once all has been
/// bound and made that needs more than what the configuration names.
///
/// # Errors
/// That the configuration requires more than can be had.
pub fn harden(needs: &Needs) -> Result<Sandbox, Refused> {
    memory::without_dumps();
    let swap = memory::without_swap();
    let why_open = match (&needs.programs, needs.sandbox) {
        (_, Wish::Off) => Some("sandbox is off".to_owned()),
        (Some(profile), Wish::BestEffort | Wish::Required) => {
            Some(format!("profiles.{profile} runs programs, which would be confined too"))
        }
        (None, Wish::BestEffort | Wish::Required) => None,
    };
    if let Some(why) = why_open {
        if needs.sandbox == Wish::Required {
            return Err(Refused(why));
        }
        tracing::info!(sandbox = format!("open: {why}"), memory = %swap, "hardened");
        return Ok(Sandbox::Open);
    }
    let (folders, files) = match confine(needs) {
        Ok((folders, fence)) => (Some(folders), Ok(fence)),
        Err(why) => (None, Err(why)),
    };
    let calls = deny_calls();
    report(needs.sandbox, &files, &calls, &swap)?;
    Ok(match (folders, calls) {
        (Some(folders), _) => Sandbox::Closed(folders),
        (None, Ok(())) => Sandbox::WithoutPrograms,
        (None, Err(_)) => Sandbox::Open,
    })
}

fn confine(needs: &Needs) -> Result<(Folders, Fence), String> {
    let folders = needs.folders()?;
    let fence = fence::close(&folders)?;
    files::confined_to(folders.clone());
    Ok((folders, fence))
}

fn deny_calls() -> Result<(), String> {
    // The filter sets it as well; but where there are no filters it is worth something by itself.
    let privileges = rustix::thread::set_no_new_privs(true);
    calls::deny()?;
    privileges.map_err(|error| error.to_string())
}

/// Says what is on in a line, and what is not in a warning.
fn report(
    wish: Wish,
    files: &Result<Fence, String>,
    calls: &Result<(), String>,
    swap: &Swap,
) -> Result<(), Refused> {
    let lacking = lacking(files, calls);
    if wish == Wish::Required && !lacking.is_empty() {
        return Err(Refused(lacking.join("; ")));
    }
    let files = files.as_ref().map_or_else(|_| "open".to_owned(), ToString::to_string);
    let calls = if calls.is_ok() { "filtered" } else { "open" };
    tracing::info!(files, calls, memory = %swap, "hardened");
    if !lacking.is_empty() {
        tracing::warn!("the relay's sandbox is not whole: {}", lacking.join("; "));
    }
    Ok(())
}

/// What is missing of the sandbox, and what that means.
fn lacking(files: &Result<Fence, String>, calls: &Result<(), String>) -> Vec<String> {
    let files = match files {
        Ok(Fence { beside: 0, .. }) => None,
        Ok(Fence { beside, .. }) => Some(format!(
            "{beside} threads were there before it and are not confined: a fault of the relay, please report it"
        )),
        Err(why) => Some(format!(
            "{why}: what the relay can read and write is limited by its user's permissions alone"
        )),
    };
    let calls = calls.as_ref().err().map(|why| {
        format!(
            "system calls are not filtered ({why}): those that the relay never makes are possible"
        )
    });
    files.into_iter().chain(calls).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{self, ErrorKind};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
    use std::process::Command;

    use super::*;
    use crate::config::environment::Environment;
    use crate::config::load;

    fn config(source: &str) -> Config {
        let text = format!(
            "
sts: {{ region: eu-west-1 }}
profiles: {{ one: {{ source: {{ {source} }}, serve_long_lived_keys: true }} }}
"
        );
        load::parse(&text, &Environment::default()).unwrap()
    }

    fn sandbox() -> Sandbox {
        let mut folders = Folders::default();
        folders.read_in("/secrets-of-a-test".into());
        folders.write_in("/run/credential-relay".into());
        Sandbox::Closed(folders)
    }

    #[test]
    fn a_configuration_is_covered_where_its_folders_are() {
        let known = config("file: { path: /secrets-of-a-test/keys.json }");
        assert_eq!(sandbox().covers(&known), Ok(()));
        let other = config("file: { path: /other-secrets/keys.json }");
        for open in [Sandbox::Open, Sandbox::WithoutPrograms] {
            assert_eq!(open.covers(&other), Ok(()));
        }
        let outside = sandbox().covers(&other).unwrap_err().to_string();
        assert!(outside.starts_with("profiles.one.source.file.path: /other-secrets is outside"));
        assert!(outside.ends_with("or restart the relay"), "{outside}");
    }

    #[cfg(feature = "host")]
    #[test]
    fn programs_are_outside() {
        let programs = config("process: { command: [/bin/true] }");
        let outside = sandbox().covers(&programs).unwrap_err();
        assert!(matches!(outside, Outside::Programs(_)), "{outside}");
        assert_eq!(Sandbox::WithoutPrograms.covers(&programs), Err(outside));
        assert_eq!(Sandbox::Open.covers(&programs), Ok(()));
        assert!(Needs::of_relay(&programs, None).programs.is_some());
    }

    /// A sandbox cannot be left, so it is tried in a process of its own: this test alone, run again.
    #[test]
    fn what_is_not_named_is_denied() {
        const INSIDE: &str = "CREDENTIAL_RELAY_TEST_INSIDE";
        if let Ok(listens) = std::env::var(INSIDE) {
            return try_what_is_denied(&listens);
        }
        let listens = format!("credential-relay-test-{}", std::process::id());
        let _listener = UnixListener::bind_addr(&abstract_address(&listens)).unwrap();
        let own = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "hardening::tests::what_is_not_named_is_denied", "--nocapture"])
            .env(INSIDE, listens)
            .output()
            .unwrap();
        assert!(own.status.success(), "{}", String::from_utf8_lossy(&own.stderr));
    }

    fn abstract_address(name: &str) -> SocketAddr {
        SocketAddr::from_abstract_name(name).unwrap()
    }

    /// To send a signal to the process that started this one, and to connect to the socket without a
    /// file on which it listens.
    fn ways_out(listens: &str) -> [io::Result<()>; 2] {
        let parent = rustix::process::getppid().unwrap();
        [
            rustix::process::test_kill_process(parent).map_err(io::Error::from),
            UnixStream::connect_addr(&abstract_address(listens)).map(drop),
        ]
    }

    fn try_what_is_denied(listens: &str) {
        for way in ways_out(listens) {
            way.unwrap();
        }
        let (named, written, other) = (
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
        );
        let file = |folder: &tempfile::TempDir| folder.path().join("file");
        for folder in [&named, &written, &other] {
            fs::write(file(folder), "text").unwrap();
        }
        let mut needs = Needs::of_relay(&config("environment: {}"), None);
        needs.files = vec![
            needs::Need::new("named", &file(&named), needs::Use::Read),
            needs::Need::new("written", &file(&written), needs::Use::Written),
        ];
        let Sandbox::Closed(folders) = harden(&needs).unwrap() else {
            // A kernel without it: tests/e2e wants one with it.
            return;
        };
        let denied = |done: io::Result<()>| done.unwrap_err().kind() == ErrorKind::PermissionDenied;
        files::read(&file(&named), 10).unwrap();
        fs::write(file(&written), "more").unwrap();
        fs::rename(file(&written), written.path().join("renamed")).unwrap();
        // A profile that comes later gets its access token's file as the first ones did.
        let later = written.path().join("later");
        fs::create_dir(&later).unwrap();
        fs::write(later.join("draft"), "token").unwrap();
        fs::hard_link(later.join("draft"), later.join("token")).unwrap();
        fs::remove_file(later.join("draft")).unwrap();
        let error = files::read(&file(&other), 10).unwrap_err();
        assert!(error.to_string().contains("sandbox denies it: it leads to"), "{error}");
        assert!(denied(fs::write(file(&other), "more")));
        assert!(denied(fs::write(file(&named), "more")), "it is to be read alone");
        assert!(denied(fs::remove_file(file(&named))));
        assert!(denied(fs::read_dir(other.path()).map(drop)));
        assert!(denied(Command::new("/bin/true").spawn().map(drop)));
        assert!(denied(std::os::unix::fs::chroot("/")));
        // Threads that are made later are bound as well.
        let path = file(&other);
        let later = std::thread::spawn(move || fs::read(path).map(drop)).join().unwrap();
        assert!(denied(later));
        let ways = ways_out(listens);
        // A second fence within the first says what the kernel has; it comes after all that the first denies.
        if fence::close(&folders).unwrap().version >= 6 {
            for way in ways {
                assert_eq!(way.unwrap_err().raw_os_error(), Some(libc::EPERM));
            }
        }
    }

    #[test]
    fn what_is_lacking_is_told_with_what_it_means() {
        let none = lacking(&Err("no Landlock".to_owned()), &Err("not here".to_owned()));
        assert_eq!(none.len(), 2);
        assert!(none[0].contains("user's permissions alone"), "{none:?}");
        assert!(none[1].contains("(not here)"), "{none:?}");
        let required = report(Wish::Required, &Err("no Landlock".to_owned()), &Ok(()), &Swap::Kept);
        assert!(required.unwrap_err().to_string().starts_with("sandbox: it is required"));
        assert_eq!(report(Wish::BestEffort, &Err(String::new()), &Ok(()), &Swap::Kept), Ok(()));
    }
}
