//! nodeforge: one cluster file in, every node's disk image out.
//!
//! The binary is a thin command line over this library. `docs/architecture.md` is the map of its modules;
//! arrows between them point down only.
//!
//! # Example
//!
//! Every change that a build makes to the first node of a cluster, decided without touching a disk:
//!
//! ```no_run
//! use std::path::Path;
//!
//! use nodeforge::artifact::format_rules;
//! use nodeforge::secrets::Secrets;
//! use nodeforge::{config, plan};
//!
//! # fn main() -> nodeforge::util::error::Result<()> {
//! let cluster = config::load(Path::new("cluster.toml"), format_rules())?;
//! // Secrets that are not stored yet are made up, and kept nowhere.
//! let secrets = Secrets::load_or_pretend(&cluster)?;
//! for change in plan::node(&cluster, &cluster.nodes[0], &secrets)? {
//!     println!("{}", plan::describe(&change));
//! }
//! # Ok(())
//! # }
//! ```

pub mod apply;
pub mod artifact;
pub mod base;
pub mod boot;
pub mod bootstrap;
pub mod build;
pub mod cache;
pub mod change;
pub mod cli;
pub mod config;
pub mod debian;
pub mod disk;
pub mod doctor;
pub mod download;
pub mod flash;
pub mod fs;
#[cfg(all(target_os = "linux", any(test, feature = "fuzzing")))]
#[doc(hidden)]
pub mod fuzzing;
pub mod guest;
pub mod image;
pub mod inspect;
pub mod overview;
pub mod plan;
pub mod prepare;
pub mod registry;
pub mod sandbox;
pub mod secrets;
pub mod table;
pub mod util;
mod versions;
pub mod vmware;
#[cfg(target_os = "linux")]
pub mod worker;
