//! Compressed formats: pieces of a disk that are packed each on its own, and what stands around them.

use crate::util::error::Result;

/// How a raw image is compressed.
pub(super) trait Codec: Sync {
    /// What it is called in messages; different for each.
    fn name(&self) -> &'static str;

    /// Bytes of the disk in a piece, whole clusters; its last piece may have fewer.
    fn piece(&self) -> u64;

    /// What comes before the pieces.
    fn head(&self) -> Vec<u8>;

    /// One piece. The same bytes always give the same.
    fn pack(&self, bytes: &[u8]) -> Result<Packed>;

    /// What comes after the pieces.
    fn tail(&self, pieces: &[Sizes]) -> Vec<u8>;
}

/// A piece of a disk, packed.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    /// As they are written.
    pub(super) bytes: Vec<u8>,
    pub(super) sizes: Sizes,
}

/// What the table at a file's end says of a piece, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Without the padding that xz has at its end.
    pub(super) packed: u64,
    pub(super) unpacked: u64,
    /// CRC-32 of the unpacked bytes, where the end has one of all; else 0.
    pub(super) crc32: u32,
}
