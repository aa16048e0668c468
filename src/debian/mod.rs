//! Debian packages: apt inside an image and on the host, what it says, and versions that are pinned.

#[cfg(target_os = "linux")]
mod apt;
#[cfg(target_os = "linux")]
mod apt_output;
#[cfg(target_os = "linux")]
mod archives;
mod cpio;
#[cfg(target_os = "linux")]
mod host_apt;
mod installed;
#[cfg(target_os = "linux")]
mod log;
pub(crate) mod machine;
pub(crate) mod machine_root;
#[cfg(target_os = "linux")]
pub(crate) mod package_lock;
mod repository;

#[cfg(target_os = "linux")]
pub(crate) use apt::{Apt, PackageSource, only_way_out};
#[cfg(all(target_os = "linux", any(test, feature = "fuzzing")))]
pub(crate) use apt_output::diagnose;
#[cfg(target_os = "linux")]
pub(crate) use apt_output::{Watcher, failure};
#[cfg(target_os = "linux")]
pub(crate) use archives::Archives;
#[cfg(target_os = "linux")]
pub(crate) use host_apt::HostApt;
pub(crate) use installed::installed;
#[cfg(target_os = "linux")]
pub(crate) use log::Log;
#[cfg(target_os = "linux")]
pub(crate) use package_lock::{check, not_cached};
