//! Programs that do not wait for the disk.
//!
//! An image that is being made is thrown away when anything fails, and made durable as a whole in
//! the end: what dpkg and packages' scripts sync on the way costs time and saves nothing. A filter of
//! system calls tells them that it is done, as `systemd-nspawn --suppress-sync` does; under qemu-user
//! too, which passes such calls on. Source: Documentation/userspace-api/seccomp_filter.rst.

use seccompiler::sock_filter;

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

/// fsync, fdatasync, sync, syncfs, msync and `sync_file_range` on that processor.
#[cfg(target_arch = "x86_64")]
const CALLS: [u32; 6] = [74, 75, 162, 306, 26, 277];
#[cfg(target_arch = "aarch64")]
const CALLS: [u32; 6] = [82, 83, 81, 267, 227, 84];

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCH: u32 = 0;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const CALLS: [u32; 0] = [];

/// `seccomp_data`: the call's number and whose numbers they are.
const NUMBER: u32 = 0;
const NUMBERING: u32 = 4;

/// BPF: loads a word of `seccomp_data`, goes on or skips, ends.
const LOAD: u16 = 0x20;
const IS: u16 = 0x15;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
/// `SECCOMP_RET_ERRNO` without an error: the call is left out, and went well.
const DONE: u32 = 0x0005_0000;

/// Turns every sync by this thread, and by all programs that it starts from now on, into a call that
/// does nothing and succeeds.
///
/// It costs them setuid bits, which root does not need. Where the kernel has no such filters, or
/// something above forbids them, all is as it was.
pub(crate) fn suppress_sync() {
    drop(seccompiler::apply_filter(&filter()));
}

fn filter() -> Vec<sock_filter> {
    let calls = u8::try_from(CALLS.len()).expect("a few");
    let step = |code, k, jt, jf| sock_filter { code, jt, jf, k };
    let mut steps = vec![
        step(LOAD, NUMBERING, 0, 0),
        // Of another processor, as i386 on amd64: they have other numbers.
        step(IS, ARCH, 0, calls + 1),
        step(LOAD, NUMBER, 0, 0),
    ];
    steps.extend(CALLS.iter().zip((1..=calls).rev()).map(|(&call, left)| step(IS, call, left, 0)));
    steps.extend([step(RETURN, ALLOW, 0, 0), step(RETURN, DONE, 0, 0)]);
    steps
}
