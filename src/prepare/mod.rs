//! Stage 1: a base becomes the prepared base that all nodes share.

mod deferred;
#[cfg(target_os = "linux")]
mod diversions;
#[cfg(target_os = "linux")]
mod firmware;
#[cfg(target_os = "linux")]
mod initramfs;
mod inputs;
#[cfg(target_os = "linux")]
mod inside;
#[cfg(target_os = "linux")]
mod job;
mod partitions;
mod request;
#[cfg(target_os = "linux")]
mod root;
mod steps;

#[cfg(target_os = "linux")]
pub(crate) use job::Job;
pub(crate) use partitions::Place;
pub use request::{Outlook, Prepared, Request};
