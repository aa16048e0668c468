//! The sandbox `vm`: a small Linux machine in QEMU that does one job, on a disk that is the image itself.
//!
//! QEMU's process has no file of the host's but the image, a scratch disk, a log and its console, and no
//! network. The machine's first process is nodeforge ([`init`]): the kernel starts it out of an initramfs.
//! It talks to the nodeforge outside ([`host`]) through two ports of the machine, each one end of a pair
//! of sockets: one carries the [`protocol`](super::protocol) of all sandboxes, the other any number of
//! streams ([`streams`]): files for the job, files that it hands back, and connections to mirrors, which
//! the [`forwarder`] outside makes.

mod forwarder;
mod host;
#[cfg(target_os = "linux")]
mod init;
pub(crate) mod qemu;
mod reach;
mod request;
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
mod spec;
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
mod streams;
mod worker_file;

pub(crate) use forwarder::Mirrors;
pub(crate) use host::{JobMachine, run};
#[cfg(target_os = "linux")]
pub(super) use init::main as init;
pub(crate) use request::Upstream;
#[cfg(target_os = "linux")]
pub(crate) use spec::WAY_OUT;
pub(crate) use spec::{ARCHIVES, DISK, LOG, inside, outgoing};
pub(crate) use worker_file::find as worker;

use crate::config::Arch;
use crate::util::error::Result;

/// Fails where no machine for programs of `arch` can be had: without QEMU, or without a worker.
pub(super) fn require(arch: Arch) -> Result<()> {
    qemu::check_version(arch)?;
    worker(arch).map(drop)
}
