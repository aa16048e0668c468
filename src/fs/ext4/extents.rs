//! The tree of a file's extents, checked as the kernel does: the ext4 crate's own walk trusts it to be
//! one. Source: kernel documentation, `filesystems/ext4`, "Extent Tree", and `fs/ext4/extents.c`.

use fs_ext4::checksum::linux_crc32c;
use fs_ext4::extent::{Extent, ExtentHeader, ExtentIdx};
use fs_ext4::fs::Filesystem;
use fs_ext4::inode::Inode;

use super::error::{Ext4Result, damaged};
use super::runs::{BlockRun, check_range};

/// Header and entry of a node have the same size, in bytes.
const ENTRY: usize = 12;

/// As deep as a tree can be (kernel, `EXT4_MAX_EXTENT_DEPTH`).
const MAX_DEPTH: u16 = 5;

/// The extents of a file mapped by them, in the file's order.
///
/// Each must lie behind the one before: so no node can be met twice, and a damaged or hostile tree
/// ends in an error after as many steps as there are blocks on the disk, at most.
pub(super) fn collect(fs: &Filesystem, number: u32, inode: &Inode) -> Ext4Result<Vec<BlockRun>> {
    let mut walk = ExtentWalk { fs, number, inode, next: 0, runs: Vec::new() };
    let depth = ExtentHeader::parse(&inode.block)?.depth;
    if depth > MAX_DEPTH {
        return Err(damaged("a tree of extents is too deep"));
    }
    walk.node(&inode.block, depth, None)?;
    Ok(walk.runs)
}

struct ExtentWalk<'a> {
    fs: &'a Filesystem,
    number: u32,
    inode: &'a Inode,
    /// The first block of the file that can still come.
    next: u64,
    runs: Vec<BlockRun>,
}

impl ExtentWalk<'_> {
    /// `first` is the block of the file at which the index above says that this node begins.
    fn node(&mut self, node: &[u8], depth: u16, first: Option<u32>) -> Ext4Result<()> {
        let header = ExtentHeader::parse(node)?;
        if header.depth != depth {
            return Err(damaged("a node of extents is not at the depth that it says"));
        }
        let capacity = ENTRY * (1 + usize::from(header.max));
        if capacity > node.len() {
            return Err(damaged("a node of extents is longer than its block"));
        }
        let is_root = first.is_none();
        if !is_root && self.fs.csum.enabled && !self.has_checksum(node, capacity) {
            return Err(damaged("a node of extents has a wrong checksum"));
        }
        let entries = &node[ENTRY..ENTRY * (1 + usize::from(header.entries))];
        let found = entries.chunks_exact(ENTRY).next();
        let found = found.map(|it| u32::from_le_bytes(*it.first_chunk().expect("12 bytes")));
        if !is_root && found != first {
            return Err(damaged("an index of extents does not say what is below it"));
        }
        for entry in entries.chunks_exact(ENTRY) {
            if header.is_leaf() {
                let extent = Extent::parse(entry)?;
                self.push(BlockRun {
                    logical: extent.logical_block.into(),
                    physical: extent.physical_block,
                    length: extent.length.into(),
                    is_written: !extent.uninitialized,
                })?;
            } else {
                let index = ExtentIdx::parse(entry)?;
                let before = self.next;
                if u64::from(index.logical_block) < before {
                    return Err(damaged("extents overlap"));
                }
                check_range(self.fs, index.leaf_block, 1)?;
                let child = self.fs.read_block(index.leaf_block)?;
                self.node(&child, depth - 1, Some(index.logical_block))?;
                if self.next == before {
                    return Err(damaged("a node of extents is empty"));
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, run: BlockRun) -> Ext4Result<()> {
        if run.logical < self.next || run.length == 0 {
            return Err(damaged("extents overlap"));
        }
        self.next = run.end();
        self.runs.push(run);
        Ok(())
    }

    /// The checksum stands behind the last entry that there is room for (`struct ext4_extent_tail`).
    fn has_checksum(&self, node: &[u8], at: usize) -> bool {
        let Some(stored) = node.get(at..).and_then(|tail| tail.first_chunk()) else { return false };
        let seed = linux_crc32c(self.fs.csum.seed, &self.number.to_le_bytes());
        let seed = linux_crc32c(seed, &self.inode.generation.to_le_bytes());
        linux_crc32c(seed, &node[..at]) == u32::from_le_bytes(*stored)
    }
}
