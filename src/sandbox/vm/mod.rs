//! The sandbox `vm`: a small Linux machine in QEMU that does one job, on a disk that is the image itself.
//!
//! QEMU's process has no file of the host's but the image, a scratch disk, a log and its console, and no
//! network. The machine's first process is nodeforge ([`init`]): the kernel starts it out of an initramfs.
//! It talks to the nodeforge outside ([`host`]) through two ports of the machine, each one end of a pair
//! of sockets: one carries the [`protocol`](super::protocol) of all sandboxes, the other any number of
//! streams ([`streams`]): files for the job, files that it hands back, and connections to mirrors, which
//! the [`forwarder`] outside makes.

#[cfg(target_os = "linux")]
mod forwarder;
#[cfg(target_os = "linux")]
mod host;
#[cfg(target_os = "linux")]
mod init;
pub(crate) mod qemu;
#[cfg(target_os = "linux")]
mod reach;
#[cfg(target_os = "linux")]
mod request;
#[cfg(target_os = "linux")]
mod spec;
#[cfg(target_os = "linux")]
mod streams;
#[cfg(target_os = "linux")]
mod worker_file;

#[cfg(target_os = "linux")]
pub(crate) use forwarder::Mirrors;
#[cfg(target_os = "linux")]
pub(crate) use host::{JobMachine, run};
#[cfg(target_os = "linux")]
pub(super) use init::main as init;
#[cfg(target_os = "linux")]
pub(crate) use request::Upstream;
#[cfg(target_os = "linux")]
pub(crate) use spec::{ARCHIVES, DISK, LOG, WAY_OUT, inside, outgoing};
#[cfg(target_os = "linux")]
pub(crate) use worker_file::find as worker;
