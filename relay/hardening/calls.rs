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

    // From linux/seccomp.h and linux/audit.h.
    const ALLOWED: u32 = 0x7fff_0000;
    const FAILS_WITH_EPERM: u32 = 0x0005_0001;
    const KILLS_THE_PROCESS: u32 = 0x8000_0000;
    const X86_64: u32 = 0xc000_003e;
    const ARM64: u32 = 0xc000_00b7;
    const I386: u32 = 0x4000_0003;
    const OWN: u32 = if cfg!(target_arch = "x86_64") { X86_64 } else { ARM64 };

    /// What the kernel would make of a call: classic BPF, as far as the filter is written in it. To make
    /// such a call in earnest would need `unsafe`.
    fn verdict(filter: &[sock_filter], architecture: u32, number: u32) -> u32 {
        let (mut at, mut loaded) = (0, None);
        loop {
            let sock_filter { code, jt, jf, k } = filter[at];
            let either = |yes: bool| usize::from(if yes { jt } else { jf });
            at += 1;
            match code {
                0x20 if k == 0 => loaded = Some(number),
                0x20 if k == 4 => loaded = Some(architecture),
                0x05 => at += usize::try_from(k).unwrap(),
                0x15 => at += either(loaded.unwrap() == k),
                0x35 => at += either(loaded.unwrap() >= k),
                0x06 => return k,
                other => panic!("{other:#x} with {k} is none of the filter's instructions"),
            }
        }
    }

    fn of(call: libc::c_long) -> u32 {
        verdict(&filter().unwrap(), OWN, u32::try_from(call).unwrap())
    }

    /// The kernel takes 4,096 instructions.
    #[test]
    fn the_filter_can_be_made_and_is_small() {
        assert!(filter().unwrap().len() < 4096 / 8);
    }

    #[test]
    fn every_call_of_the_list_fails() {
        for call in DENIED {
            assert_eq!(of(*call), FAILS_WITH_EPERM, "{call}");
        }
    }

    /// The list again, as docs/threat-model.md promises it: none of these gets lost.
    #[test]
    fn what_the_threat_model_names_fails() {
        let promised = [
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_pidfd_getfd,
            libc::SYS_execve,
            libc::SYS_execveat,
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
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_userfaultfd,
            libc::SYS_io_uring_setup,
            libc::SYS_io_uring_enter,
            libc::SYS_io_uring_register,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_keyctl,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_delete_module,
            libc::SYS_kexec_load,
            KEXEC_FILE_LOAD,
        ];
        for call in promised {
            assert_eq!(of(call), FAILS_WITH_EPERM, "{call}");
        }
    }

    #[test]
    fn what_a_relay_needs_passes() {
        let needed = [
            libc::SYS_read,
            libc::SYS_write,
            libc::SYS_openat,
            libc::SYS_close,
            libc::SYS_fsync,
            libc::SYS_renameat2,
            libc::SYS_mmap,
            libc::SYS_munmap,
            libc::SYS_futex,
            libc::SYS_epoll_pwait,
            libc::SYS_socket,
            libc::SYS_bind,
            libc::SYS_connect,
            libc::SYS_accept4,
            libc::SYS_sendto,
            libc::SYS_recvfrom,
            libc::SYS_getrandom,
            libc::SYS_clock_gettime,
            // Threads are made by these.
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_exit_group,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_epoll_wait,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_open,
        ];
        for call in needed {
            assert_eq!(of(call), ALLOWED, "{call}");
        }
        let unheard_of = 0x3fff_ffff;
        assert_eq!(of(unheard_of), ALLOWED, "what a later kernel has may be needed");
    }

    /// A number means something else in another architecture's table.
    #[test]
    fn calls_of_another_architecture_kill() {
        let of_read = u32::try_from(libc::SYS_read).unwrap();
        for other in [X86_64, ARM64, I386].into_iter().filter(|other| *other != OWN) {
            assert_eq!(
                verdict(&filter().unwrap(), other, of_read),
                KILLS_THE_PROCESS,
                "{other:#x}"
            );
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn all_numbers_of_x32_are_denied() {
        const X32: libc::c_long = 0x4000_0000;
        let some = [libc::SYS_read, libc::SYS_futex].iter().chain(DENIED).map(|call| X32 + call);
        // Those that x32 alone has, and the ends of the range.
        for number in some.chain([X32, X32 + 512, X32 + 547, u32::MAX.into()]) {
            assert_eq!(of(number), FAILS_WITH_EPERM, "{number:#x}");
        }
    }
}
