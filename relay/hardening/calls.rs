//! System calls that the relay never makes and that whoever has taken it over would: they fail.
//!
//! It is a list of what is denied, not of what is allowed: which calls a program makes changes with
//! the C library, the kernel and the processor, and one that is missing from a list of the allowed
//! would withhold a credential on some machine that no test has seen. No argument is looked at, so
//! that the kernel knows beforehand which calls always pass and runs no filter for them.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, sock_filter};

/// The libc crate has no name for it on arm64 with musl.
const KEXEC_FILE_LOAD: libc::c_long = if cfg!(target_arch = "x86_64") { 320 } else { 294 };

/// By what they would be good for.
const DENIED: &[libc::c_long] = &[
    // To read another process, or take its files.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // To run another program: the sources that do so are not confined at all.
    libc::SYS_execve,
    libc::SYS_execveat,
    // To see another file system, or files past their folders.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    // To get the rights of a namespace of one's own, or into another; `clone` with the same flags stays,
    // since threads are made by it.
    libc::SYS_unshare,
    libc::SYS_setns,
    // Parts of the kernel that have been ways into it, or past what is watched.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_personality,
    // The kernel's keyrings.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // The machine itself.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    KEXEC_FILE_LOAD,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];

/// Denies them to all threads, for good.
///
/// # Errors
/// That this kernel has no filters for system calls, in its words.
pub(super) fn deny() -> Result<(), String> {
    seccompiler::apply_filter_all_threads(&filter()?).map_err(|error| error.to_string())
}

fn filter() -> Result<BpfProgram, String> {
    let rules: BTreeMap<_, _> = DENIED.iter().map(|call| (*call, Vec::new())).collect();
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let architecture = TargetArch::try_from(std::env::consts::ARCH);
    let architecture = architecture.map_err(|error| error.to_string())?;
    let listed = SeccompFilter::new(rules, SeccompAction::Allow, denied.clone(), architecture)
        .and_then(BpfProgram::try_from)
        .map_err(|error| error.to_string())?;
    Ok(if cfg!(target_arch = "x86_64") { deny_x32(denied, listed) } else { listed })
}

/// The same calls have other numbers in x86_64's second interface, x32, which some kernels have: none of
/// those is allowed. Jumps are relative, so what stands before the filter leaves it as it is.
fn deny_x32(denied: SeccompAction, filter: BpfProgram) -> BpfProgram {
    // From linux/bpf_common.h, asm/unistd.h and linux/seccomp.h, where the number stands first.
    const LOAD_THE_NUMBER: (u16, u32) = (0x20, 0);
    const IF_AT_LEAST_X32: (u16, u32) = (0x35, 0x4000_0000);
    const RETURN: u16 = 0x06;
    let instruction = |(code, k), jf| sock_filter { code, jt: 0, jf, k };
    let head = [
        instruction(LOAD_THE_NUMBER, 0),
        instruction(IF_AT_LEAST_X32, 1),
        instruction((RETURN, denied.into()), 0),
    ];
    head.into_iter().chain(filter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel takes 4,096 instructions.
    #[test]
    fn the_filter_can_be_made_and_is_small() {
        assert!(filter().unwrap().len() < 4096 / 8);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn all_numbers_of_x32_are_denied_before_any_is_looked_at() {
        let filter = filter().unwrap();
        let of = |number: usize| (filter[number].code, filter[number].k);
        assert_eq!(of(0), (0x20, 0), "load the number");
        assert_eq!((of(1), filter[1].jt, filter[1].jf), ((0x35, 0x4000_0000), 0, 1));
        assert_eq!(of(2), (0x06, 0x0005_0001), "SECCOMP_RET_ERRNO with EPERM");
    }
}
