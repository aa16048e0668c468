//! qcow2, QEMU's disk format: our own writer and reader.
//!
//! Format: `docs/interop/qcow2.rst` of QEMU. All numbers in it are big-endian.

mod header;
mod read;
mod tables;
mod write;

#[cfg(test)]
mod tests;

pub(super) use header::BackingName;
pub(super) use read::open_chain;
pub use write::{Backing, write};

/// The header extension that names the backing file's format.
const BACKING_FORMAT: u32 = 0xe279_2aca;
