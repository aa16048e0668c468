//! nodeforge: one cluster file in, every node's disk image out.
//!
//! The binary is a thin command line over this library. Arrows point down only: `cli` →
//! `stamp`, `prepare`, `emit`, `source`, `boot` → `plan`, `image` → `fs`, `table` → `disk`.

pub mod boot;
mod calendar;
pub mod cli;
mod clock;
pub mod compare;
pub mod config;
pub mod digest;
pub mod disk;
pub mod edit;
pub mod emit;
pub mod error;
mod file_lock;
pub mod flash;
pub mod fs;
pub mod image;
pub mod inspect;
pub mod interrupt;
pub mod plan;
pub mod prepare;
pub mod progress;
pub mod sbom;
pub mod source;
pub mod stamp;
pub mod table;
mod threads;
pub mod tool;
pub mod transfer;
pub mod vm;
