//! What every room needs: errors, progress, interruption, hashes, time, processes, threads, space.

pub mod calendar;
pub mod clock;
pub mod error;
pub mod file_identity;
pub mod file_lock;
pub mod hex;
pub mod in_order;
pub mod interrupt;
pub mod new_files;
pub mod parallel;
pub mod printable;
pub mod process;
pub mod progress;
pub mod remove_tree;
pub(crate) mod rfc3339;
pub mod room;
pub mod sha256;
pub(crate) mod shell;
pub(crate) mod terminal;
pub(crate) mod yaml;
