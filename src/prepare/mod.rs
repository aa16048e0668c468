//! Stage 1: a base becomes a prepared base, which nodes with the same packages share.

mod deferred;
#[cfg(target_os = "linux")]
mod diversions;
#[cfg(target_os = "linux")]
mod fat_folders;
mod files;
mod in_machine;
mod ingredients;
#[cfg(target_os = "linux")]
mod initramfs;
mod job;
mod partitions;
mod request;
#[cfg(target_os = "linux")]
mod root_folder;
#[cfg(target_os = "linux")]
mod work;

#[cfg(target_os = "linux")]
pub(crate) use job::PrepareJob;
pub(crate) use request::PreparedElsewhere;
pub use request::{CacheStatus, CachedBase, Prepared, Request};
