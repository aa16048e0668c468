//! Where programs of an image run: apart from the host, ending with nodeforge, and leaving nothing behind.
//!
//! nodeforge starts a copy of itself in there, which does a [`Job`] of a table that its caller gives
//! ([`main`]): the sandbox itself knows none of them. What goes in and out is one protocol, whatever
//! [`Sandbox`] it is; each kind of sandbox is one file behind one trait ([`backend`]).
//!
//! Those made of namespaces are three processes deep: `unshare` → *init*, process 1 of a pid namespace →
//! *worker*, in a mount namespace of its own. As root these are plain namespaces; an ordinary user is
//! made root of a user namespace. All three are nodeforge's own code. Programs of the image run behind
//! a further boundary ([`Guest`]), which is what they would have to get through: docs/threat-model.md.

#[cfg(target_os = "linux")]
mod backend;
#[cfg(target_os = "linux")]
mod capabilities;
#[cfg(target_os = "linux")]
mod chroot;
#[cfg(target_os = "linux")]
mod confine;
#[cfg(target_os = "linux")]
mod emulator;
#[cfg(not(target_os = "linux"))]
mod emulator {
    /// No program of another processor runs here.
    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    pub(super) enum Emulator {}
}
#[cfg(target_os = "linux")]
mod entry;
#[cfg(target_os = "linux")]
mod guest;
#[cfg(target_os = "linux")]
mod ids;
#[cfg(target_os = "linux")]
mod init;
mod job;
mod kind;
#[cfg(target_os = "linux")]
mod loop_root;
#[cfg(target_os = "linux")]
mod loopback;
#[cfg(target_os = "linux")]
mod machine;
#[cfg(target_os = "linux")]
mod mounts;
#[cfg(target_os = "linux")]
mod namespaces;
#[cfg(target_os = "linux")]
mod none;
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
mod protocol;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
pub(crate) mod shell;
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
mod start;
#[cfg(target_os = "linux")]
mod suppress_sync;
#[cfg(target_os = "linux")]
mod syscalls;
#[cfg(target_os = "linux")]
mod userns;
pub(crate) mod vm;
#[cfg(target_os = "linux")]
mod worker;

#[cfg(target_os = "linux")]
pub(crate) use chroot::Chroot;
#[cfg(target_os = "linux")]
pub use entry::{main, requested};
#[cfg(target_os = "linux")]
pub(crate) use guest::{Guest, Network};
#[cfg(target_os = "linux")]
pub(crate) use ids::subordinate_ids;
#[cfg(target_os = "linux")]
pub(crate) use job::Job;
#[cfg(target_os = "linux")]
pub use job::JobEntry;
pub(crate) use job::JobRequest;
pub use kind::{Choice, Sandbox};
#[cfg(all(target_os = "linux", any(test, feature = "fuzzing")))]
pub(crate) use protocol::read_message;
#[cfg(target_os = "linux")]
pub(crate) use run::{Environment, remove_folder, run};
#[cfg(target_os = "linux")]
pub(crate) use suppress_sync::suppress_sync;
pub(crate) use vm::qemu;
#[cfg(target_os = "linux")]
pub(crate) use worker::end_others;
