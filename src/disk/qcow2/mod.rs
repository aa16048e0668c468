//! qcow2 images: our own writer.
//!
//! Format: `docs/interop/qcow2.rst` of QEMU. All numbers in it are big-endian.

mod write;

#[cfg(test)]
mod tests;

pub use write::{Backing, write};
