//! An operating system's own files, each read and written in one place, over any [`Tree`](crate::fs::Tree).

pub mod accounts;
pub(crate) mod command_line;
pub(crate) mod config_txt;
pub(crate) mod dpkg;
pub(crate) mod files;
pub mod first_boot;
pub(crate) mod fstab;
mod generalise;
pub mod identity;
pub(crate) mod language;
pub(crate) mod login_user;
pub(crate) mod os_release;
pub mod roles;
pub(crate) mod time_zone;
pub mod units;
pub(crate) mod vendor_setup;
pub(crate) mod visitor;

pub(crate) use generalise::generalise;
