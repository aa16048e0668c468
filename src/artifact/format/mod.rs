//! The table of artifact formats, one file each: whatever flashes, boots, replaces, checks or exports
//! artifacts goes through it.
//!
//! A new format is a file here, with its `mod` line, and a line in [`FORMATS`].

pub(super) mod definition;
mod ova;
mod qcow2;
mod raw;
mod raw_gz;
mod raw_xz;
mod raw_zst;
mod vmdk;
mod vmwarevm;

use definition::ArtifactFormat;

/// Every format, in the order of the documentation. A cluster file that names none gets the first.
pub(super) static FORMATS: &[&ArtifactFormat] = &[
    &raw::FORMAT,
    &raw_xz::FORMAT,
    &raw_zst::FORMAT,
    &raw_gz::FORMAT,
    &qcow2::FORMAT,
    &vmdk::FORMAT,
    &vmwarevm::FORMAT,
    &ova::FORMAT,
];
