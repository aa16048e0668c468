//! Programs that profiles install, and how long each version of them is supported.
//!
//! The facts are in `versions.toml`, one row a release, each with its source.

mod release;
mod table;

pub(crate) use table::{VersionSupport, is_program, programs, support};
