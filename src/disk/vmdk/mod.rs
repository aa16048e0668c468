//! VMDK, VMware's disk format: our own writer and reader.
//!
//! Format: VMware's *Virtual Disk Format 5.0*. Numbers in it are little-endian, and offsets count
//! 512-byte sectors.

mod content_id;
mod descriptor;
mod image;
mod magic;
mod read;
mod sparse;
mod stream;
mod write;

#[cfg(test)]
mod tests;

pub use content_id::ContentId;
pub use image::{Parent, VmdkSpec};
pub(super) use magic::{is_vmdk, is_vmdk_to_qemu};
pub(super) use read::open_chain;
pub use stream::write_stream;
pub use write::write;

/// The unit of every offset, in bytes.
const SECTOR: u64 = 512;
/// Sectors of a grain: what is allocated at once. One of ours is one cluster.
const GRAIN: u64 = 128;
/// Grains in one grain table.
const TABLE_ENTRIES: u32 = 512;
/// Sectors of a full grain table.
const TABLE_SECTORS: u64 = 4;
/// Where the descriptor text starts, and how many sectors it has.
const DESCRIPTOR: std::ops::Range<u64> = 1..21;
/// `CID` of the parent of a disk that has none.
const NO_PARENT: u32 = 0xffff_ffff;
