//! Stage 1: a base becomes the prepared base that all nodes share.

#[cfg(target_os = "linux")]
mod apt;
#[cfg(target_os = "linux")]
mod apt_output;
mod deferred;
#[cfg(target_os = "linux")]
mod firmware;
mod generalise;
mod handover;
#[cfg(target_os = "linux")]
mod initramfs;
mod inputs;
#[cfg(target_os = "linux")]
mod inside;
#[cfg(target_os = "linux")]
mod job;
#[cfg(target_os = "linux")]
mod lent;
#[cfg(target_os = "linux")]
mod live;
#[cfg(target_os = "linux")]
mod locked;
#[cfg(target_os = "linux")]
mod log;
#[cfg(target_os = "linux")]
pub(crate) mod mkfs;
#[cfg(target_os = "linux")]
mod native;
mod packages;
mod partitions;
mod request;
#[cfg(target_os = "linux")]
mod root;
#[cfg(target_os = "linux")]
pub mod sandbox;
mod sandbox_kind;
#[cfg(target_os = "linux")]
mod shell;
mod steps;
#[cfg(target_os = "linux")]
mod unsynced;

#[cfg(target_os = "linux")]
pub(crate) use apt_output::{Watcher, failure};
pub(crate) use generalise::generalise;
pub(crate) use handover::is_networkds;
#[cfg(target_os = "linux")]
pub(crate) use job::Job;
#[cfg(target_os = "linux")]
pub(crate) use live::LiveTree;
#[cfg(target_os = "linux")]
pub(crate) use log::Log;
pub(crate) use packages::{STATUS, installed};
pub use request::{Outlook, Prepared, Request};
pub use sandbox_kind::Sandbox;
pub(crate) use steps::first_boot;
