//! Landlock: files by their folders, and nothing else of the file system.

use std::fmt;

use landlock::{
    ABI, Access, AccessFs, LandlockStatus, RestrictSelfAttr, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope, path_beneath_rules,
};

use crate::files::Folders;

/// What is asked for: the rights as of this version, which the tests have seen; older kernels deny
/// less, but the first one denies reading, writing and executing already. The network is left alone:
/// upstreams, proxies and name servers are on any port.
const VERSION: ABI = ABI::V6;

/// How a process was confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fence {
    /// The version of Landlock that counts.
    pub(super) version: i32,
    /// Threads that were there before, and on which it has no hold.
    pub(super) beside: usize,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "confined by Landlock {}", self.version)
    }
}

/// Confines this thread and those that it makes, for good; all threads where the kernel can (Landlock 8).
///
/// # Errors
/// Why it could not be done.
pub(super) fn close(folders: &Folders) -> Result<Fence, String> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let written = read
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile;
    let threads = threads();
    let ruleset = || {
        Ruleset::default()
            .handle_access(AccessFs::from_all(VERSION))?
            // Signals and abstract sockets of others.
            .scope(Scope::from_all(VERSION))?
            .create()?
            .add_rules(path_beneath_rules(folders.read(), read))?
            .add_rules(path_beneath_rules(folders.written(), written))?
            .all_threads(true)?
            .restrict_self()
    };
    let status = ruleset().map_err(|error: landlock::RulesetError| error.to_string())?;
    match status.landlock {
        LandlockStatus::Available { effective_abi, .. }
            if status.ruleset != RulesetStatus::NotEnforced =>
        {
            let beside = if status.all_threads { 0 } else { threads.saturating_sub(1) };
            Ok(Fence { version: effective_abi as i32, beside })
        }
        LandlockStatus::NotEnabled => {
            Err("this kernel's Landlock is switched off (its boot parameter lsm)".to_owned())
        }
        _ => Err("this kernel has no Landlock (Linux 5.13 has), or the container's seccomp profile withholds it".to_owned()),
    }
}

/// The threads of this process; none where nobody can tell.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}
