//! Where the blocks of a file lie: one list, whichever way the inode maps them.

use fs_ext4::fs::Filesystem;
use fs_ext4::inode::Inode;

use super::error::{Ext4Result, damaged};
use super::runs::{BlockRun, check_range};
use super::{extents, indirect};

/// The blocks of a file or directory that has any, in its own order, without overlaps.
///
/// Every block is one of the file system's, and there are no more of them than it has: a damaged or
/// hostile map ends in an error, not in an endless file.
pub(super) fn map(fs: &Filesystem, number: u32, inode: &Inode) -> Ext4Result<Vec<BlockRun>> {
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
