//! Memory that holds secrets: no dump of it, no debugger, and no page of it on a disk.

use std::fmt;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};
use rustix::thread::{CapabilitySet, capabilities};

/// Takes this process out of the reach of other processes of its user: no core dump, no `ptrace`, and
/// `/proc/<pid>/environ`, `mem` and what is like them belong to root. A program that it executes is not
/// bound by it.
pub fn hide() {
    // Where the kernel cannot (user-mode emulation), the image's user has no other processes anyhow.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// The second lock against dumps: whoever makes the process dumpable again gets an empty one, but where
/// the kernel pipes dumps into a program, which no limit binds. It passes on to what the process
/// executes.
pub(super) fn without_dumps() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // To lower a limit needs no right.
    let _ = setrlimit(Resource::Core, none);
}

/// Whether pages may be written to a swap device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Swap {
    /// They stay in memory.
    Kept,
    /// They may be.
    Possible(String),
}

impl fmt::Display for Swap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept => f.write_str("locked"),
            Self::Possible(why) => write!(f, "may be swapped: {why}"),
        }
    }
}

/// In any other the kernel counts locked memory whatever capabilities there are.
fn in_the_first_user_namespace() -> bool {
    std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]))
}

/// Keeps pages in memory once they are touched; untouched ones cost nothing. Where there is a limit
/// it is left: with one, each later allocation beyond it would fail, and with it a credential.
pub(super) fn without_swap() -> Swap {
    let unlimited = getrlimit(Resource::Memlock).current.is_none();
    let privileged = in_the_first_user_namespace()
        && capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    if !unlimited && !privileged {
        let why = "there is a limit on locked memory (RLIMIT_MEMLOCK); lift it, or give CAP_IPC_LOCK, where \
                   nodes have swap";
        return Swap::Possible(why.to_owned());
    }
    match mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT) {
        Ok(()) => Swap::Kept,
        Err(error) => Swap::Possible(error.to_string()),
    }
}
