//! Where the blocks of a file lie: one list, whichever way the inode maps them.

use std::ops::Range;

use fs_ext4::fs::Filesystem;
use fs_ext4::inode::Inode;

use super::error::damaged;
use super::{extents, indirect};
use crate::util::error::Result;

/// Consecutive blocks of a file that are consecutive on the disk, all counted in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Where it begins in the file.
    pub(super) logical: u64,
    /// Where it begins on the disk.
    pub(super) physical: u64,
    /// How many they are.
    pub(super) length: u64,
    /// Whether they hold what was written; zeros otherwise.
    pub(super) is_written: bool,
}

impl Run {
    /// The first block of the file behind it.
    pub(super) fn end(&self) -> u64 {
        self.logical + self.length
    }
}

/// The blocks of a file or directory that has any, in its own order, without overlaps.
///
/// Every block is one of the file system's, and there are no more of them than it has: a damaged or
/// hostile map ends in an error, not in an endless file.
pub(super) fn map(fs: &Filesystem, number: u32, inode: &Inode) -> Result<Vec<Run>> {
    let runs = if inode.has_extents() {
        extents::collect(fs, number, inode)?
    } else {
        indirect::collect(fs, inode)?
    };
    let mut left = fs.sb.blocks_count;
    for run in &runs {
        check_range(fs, run.physical, run.length)?;
        left = left
            .checked_sub(run.length)
            .ok_or_else(|| damaged("a file holds more blocks than the disk"))?;
    }
    Ok(runs)
}

/// Refuses blocks that are not all on the file system (kernel, `ext4_inode_block_valid`).
pub(super) fn check_range(fs: &Filesystem, first: u64, count: u64) -> Result<()> {
    let is_inside = first > u64::from(fs.sb.first_data_block)
        && first.checked_add(count).is_some_and(|end| end <= fs.sb.blocks_count);
    if is_inside { Ok(()) } else { Err(damaged("a file has a block that is not on the disk")) }
}

/// The run that holds a block of the file, or the number of the block at which the hole ends.
pub(super) fn find(runs: &[Run], block: u64) -> Result<&Run, u64> {
    let next = runs.partition_point(|run| run.end() <= block);
    match runs.get(next) {
        Some(run) if run.logical <= block => Ok(run),
        Some(run) => Err(run.logical),
        None => Err(u64::MAX),
    }
}

/// The bytes of a file of `size` bytes that its blocks fill, those that touch joined.
pub(super) fn data(runs: &[Run], block_size: u64, size: u64) -> Vec<Range<u64>> {
    let mut data: Vec<Range<u64>> = Vec::new();
    for run in runs.iter().filter(|run| run.is_written) {
        let start = run.logical * block_size;
        let end = (run.end() * block_size).min(size);
        match data.last_mut() {
            Some(last) if last.end == start => last.end = end.max(start),
            _ if start < end => data.push(start..end),
            _ => {}
        }
    }
    data
}
