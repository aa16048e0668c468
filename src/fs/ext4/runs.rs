//! Runs of blocks of a file.

use std::ops::Range;

use fs_ext4::fs::Filesystem;

use super::error::{Ext4Result, damaged};

/// Consecutive blocks of a file that are consecutive on the disk, all counted in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockRun {
    /// Where it begins in the file.
    pub(super) logical: u64,
    /// Where it begins on the disk.
    pub(super) physical: u64,
    /// How many they are.
    pub(super) length: u64,
    /// Whether they hold what was written; zeros otherwise.
    pub(super) is_written: bool,
}

impl BlockRun {
    /// The first block of the file behind it.
    pub(super) fn end(&self) -> u64 {
        self.logical + self.length
    }
}

/// Refuses blocks that are not all on the file system (kernel, `ext4_inode_block_valid`).
pub(super) fn check_range(fs: &Filesystem, first: u64, count: u64) -> Ext4Result<()> {
    let is_inside = first > u64::from(fs.sb.first_data_block)
        && first.checked_add(count).is_some_and(|end| end <= fs.sb.blocks_count);
    if is_inside { Ok(()) } else { Err(damaged("a file has a block that is not on the disk")) }
}

/// The run that holds a block of the file, or the number of the block at which the hole ends.
pub(super) fn find(runs: &[BlockRun], block: u64) -> Result<&BlockRun, u64> {
    let next = runs.partition_point(|run| run.end() <= block);
    match runs.get(next) {
        Some(run) if run.logical <= block => Ok(run),
        Some(run) => Err(run.logical),
        None => Err(u64::MAX),
    }
}

/// The bytes of a file of `size` bytes that its blocks fill, those that touch joined.
pub(super) fn data(runs: &[BlockRun], block_size: u64, size: u64) -> Vec<Range<u64>> {
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
