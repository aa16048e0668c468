//! Pieces of a disk that stand for themselves: blocks of xz, frames of zstd.

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
}
