//! System calls that programs of an image do not get: what no package needs, and what has let programs
//! out of sandboxes before.
//!
//! As Docker's default profile, systemd-nspawn and flatpak have it: mounts and namespaces, keyrings,
//! kernel modules, BPF, `io_uring`, typing into terminals. Programs compiled for another numbering of
//! system calls, such as i386 on amd64, are killed: a list of numbers says nothing about theirs.
//! Source: seccomp(2).

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Is, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use crate::util::error::{Context as _, Error, Result};

#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCH: TargetArch = TargetArch::aarch64;

/// Refused whatever the arguments are.
const REFUSED: [c_long; 46] = [
    // Mounts, and what leads around them.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // Namespaces.
    libc::SYS_unshare,
    libc::SYS_setns,
    // The kernel itself.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_vhangup,
    // Keys, which no namespace keeps apart.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Other processes' memory.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    // The clock.
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_nfsservctl,
];

/// And those that one kind of processor has alone.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: [c_long; 5] =
    [libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt, libc::SYS_uselib, libc::SYS__sysctl];
#[cfg(target_arch = "aarch64")]
const REFUSED_HERE: [c_long; 0] = [];

/// Every flag of clone(2) that makes a namespace.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// Types into a terminal as if its user did: ioctl(2)'s `TIOCSTI`, and `TIOCLINUX` on a console.
const TYPES: [u64; 2] = [0x5412, 0x541C];

/// What sockets may speak. Others are parts of the kernel that few people look at.
const FAMILIES: [libc::c_int; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Refuses them to this thread and whatever it starts, for ever.
pub(super) fn refuse_dangerous() -> Result<()> {
    // What is younger than a filter is asked for first, and its absence is a fine answer: its flags are
    // in memory, where no filter can look.
    let absent = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    apply(absent, libc::ENOSYS)?;
    apply(refused()?, libc::EPERM)?;
    #[cfg(target_arch = "x86_64")]
    refuse_x32()?;
    Ok(())
}

/// The x32 numbers of amd64 are all others with one more bit.
#[cfg(target_arch = "x86_64")]
fn refuse_x32() -> Result<()> {
    use seccompiler::sock_filter;
    const BIT: u32 = 0x4000_0000;
    // BPF: load the number; at least the bit? `SECCOMP_RET_ERRNO`, else `SECCOMP_RET_ALLOW`.
    let filter = [
        sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 },
        sock_filter { code: 0x35, jt: 0, jf: 1, k: BIT },
        sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x0005_0000 | libc::ENOSYS.cast_unsigned() },
        sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 },
    ];
    seccompiler::apply_filter(&filter).map_err(|error| Error::failure(error.to_string()))
}

fn refused() -> Result<BTreeMap<c_long, Vec<SeccompRule>>> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        REFUSED.iter().chain(&REFUSED_HERE).map(|&call| (call, Vec::new())).collect();
    let namespaces = NAMESPACES.iter().map(|&flag| {
        let flag = u64::from(flag.cast_unsigned());
        rule(vec![condition(0, Is::MaskedEq(flag), flag)?])
    });
    rules.insert(libc::SYS_clone, namespaces.collect::<Result<_>>()?);
    let types = TYPES.iter().map(|&request| rule(vec![condition(1, Is::Eq, request)?]));
    rules.insert(libc::SYS_ioctl, types.collect::<Result<_>>()?);
    let others = FAMILIES
        .iter()
        .map(|&family| condition(0, Is::Ne, u64::from(family.cast_unsigned())))
        .collect::<Result<_>>()?;
    let others = rule(others)?;
    rules.insert(libc::SYS_socketpair, vec![others.clone()]);
    rules.insert(libc::SYS_socket, vec![others]);
    Ok(rules)
}

fn condition(argument: u8, is: Is, value: u64) -> Result<SeccompCondition> {
    SeccompCondition::new(argument, Length::Dword, is, value)
        .map_err(|error| Error::failure(error.to_string()))
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule> {
    SeccompRule::new(conditions).map_err(|error| Error::failure(error.to_string()))
}

fn apply(rules: BTreeMap<c_long, Vec<SeccompRule>>, answer: libc::c_int) -> Result<()> {
    let answer = SeccompAction::Errno(answer.cast_unsigned());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, ARCH);
    let program: std::result::Result<BpfProgram, _> = filter.and_then(TryInto::try_into);
    program
        .map_err(|error| Error::failure(error.to_string()))
        .and_then(|program| {
            seccompiler::apply_filter(&program).map_err(|error| Error::failure(error.to_string()))
        })
        .context(|| "cannot filter system calls")
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::io::Errno;
    use rustix::net::{AddressFamily, SocketType, socket};

    use super::*;

    /// In a thread of its own: a filter cannot be taken away again.
    #[test]
    fn a_filtered_thread_makes_no_namespace_and_no_odd_socket() {
        let work = || {
            refuse_dangerous().unwrap();
            let odd = socket(AddressFamily::from_raw(38), SocketType::SEQPACKET, None);
            assert_eq!(odd.unwrap_err(), Errno::PERM);
            assert!(socket(AddressFamily::UNIX, SocketType::STREAM, None).is_ok());
            let moved = rustix::mount::unmount("/nowhere", rustix::mount::UnmountFlags::empty());
            assert_eq!(moved.unwrap_err(), Errno::PERM);
            // Programs still start.
            assert!(std::process::Command::new("true").status().unwrap().success());
        };
        thread::spawn(work).join().unwrap();
    }
}
