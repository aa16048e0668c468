//! nodeforge: one cluster file in, every node's disk image out.
//!
//! The binary is a thin command line over this library. Arrows point down only: `cli` →
//! `stamp`, `prepare`, `emit`, `source` → `plan`, `image` → `fs`, `table` → `disk`.

pub mod config;
pub mod disk;
pub mod error;
pub mod fs;
pub mod image;
pub mod plan;
pub mod table;
