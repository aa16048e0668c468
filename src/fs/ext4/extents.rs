//! All extents of a file: the ext4 crate's own walk of the tree trusts it to be one.

use std::ops::Range;

use fs_ext4::extent::{Extent, ExtentHeader, ExtentIdx};
use fs_ext4::fs::Filesystem;
use fs_ext4::inode::Inode;

use super::error::{damaged, explain};
use crate::util::error::Result;

/// Header and entry of a node have the same size, in bytes.
const ENTRY: usize = 12;

/// As deep as a tree can be (kernel, `EXT4_MAX_EXTENT_DEPTH`).
const MAX_DEPTH: u16 = 5;

/// The extents of a file mapped by them, in the file's order.
///
/// Each must lie behind the one before: so no node can be met twice, and a damaged or hostile tree
/// ends in an error after as many steps as there are blocks on the disk, at most.
pub(super) fn collect(fs: &Filesystem, inode: &Inode) -> Result<Vec<Extent>> {
    let mut extents = Vec::new();
    walk(fs, &inode.block, MAX_DEPTH, &mut 0, &mut extents)?;
    Ok(extents)
}

fn walk(
    fs: &Filesystem,
    node: &[u8],
    depth_limit: u16,
    next: &mut u64,
    extents: &mut Vec<Extent>,
) -> Result<()> {
    let header = ExtentHeader::parse(node).map_err(explain)?;
    if header.depth > depth_limit {
        return Err(damaged("a tree of extents is too deep"));
    }
    let entries = usize::from(header.entries) * ENTRY;
    let entries = node
        .get(ENTRY..ENTRY + entries)
        .ok_or_else(|| damaged("a node of extents is longer than its block"))?;
    for entry in entries.chunks_exact(ENTRY) {
        if header.is_leaf() {
            let extent = Extent::parse(entry).map_err(explain)?;
            let start = u64::from(extent.logical_block);
            if start < *next || extent.length == 0 {
                return Err(damaged("extents overlap"));
            }
            *next = start + u64::from(extent.length);
            extents.push(extent);
        } else {
            let index = ExtentIdx::parse(entry).map_err(explain)?;
            if u64::from(index.logical_block) < *next {
                return Err(damaged("extents overlap"));
            }
            let before = *next;
            let child = fs.read_block(index.leaf_block).map_err(explain)?;
            walk(fs, &child, header.depth - 1, next, extents)?;
            if *next == before {
                return Err(damaged("a node of extents is empty"));
            }
        }
    }
    Ok(())
}

/// The bytes of a file that extents fill, runs that touch joined.
pub(super) fn runs(extents: &[Extent], block_size: u64, size: u64) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for extent in extents.iter().filter(|extent| !extent.uninitialized) {
        let start = u64::from(extent.logical_block) * block_size;
        let end = (start + u64::from(extent.length) * block_size).min(size);
        match runs.last_mut() {
            Some(last) if last.end == start => last.end = end.max(start),
            _ if start < end => runs.push(start..end),
            _ => {}
        }
    }
    runs
}
