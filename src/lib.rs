//! nodeforge: one cluster file in, every node's disk image out.
//!
//! The binary is a thin command line over this library. Arrows point down only: `cli` →
//! `stamp`, `prepare`, `emit`, `source`, `boot` → `plan`, `image` → `fs`, `table` → `disk`.

pub mod boot;
pub mod config;
pub mod disk;
pub mod error;
pub mod flash;
pub mod fs;
pub mod image;
pub mod interrupt;
pub mod plan;
pub mod progress;
pub mod stamp;
pub mod table;
