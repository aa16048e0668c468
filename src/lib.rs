//! nodeforge: one cluster file in, every node's disk image out.
//!
//! The binary is a thin command line over this library. `docs/architecture.md` is the map of its rooms;
//! arrows between them point down only.

pub mod apply;
pub mod artifact;
pub mod base;
pub mod boot;
#[cfg(target_os = "linux")]
pub mod bootstrap;
pub mod build;
pub mod cache;
pub mod change;
pub mod cli;
pub mod config;
pub mod debian;
pub mod disk;
pub mod download;
pub mod flash;
pub mod fs;
pub mod guest;
pub mod image;
pub mod inspect;
pub mod plan;
pub mod prepare;
pub mod sandbox;
pub mod secrets;
pub mod table;
pub mod util;
pub mod vmware;
#[cfg(target_os = "linux")]
pub mod worker;
