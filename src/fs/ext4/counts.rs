//! How much is free: what the block groups say, summed as the kernel does when it mounts. The
//! superblock's own counts are only written down when it unmounts.

use fs_ext4::Superblock;
use fs_ext4::bgd;
use fs_ext4::checksum::linux_crc32c;
use fs_ext4::features::RoCompat;
use fs_ext4::fs::Filesystem;

use super::error::Ext4Result;
use crate::disk::Disk;

const SUPERBLOCK: u64 = 1024;
const FREE_BLOCKS: usize = 0xc;
const FREE_INODES: usize = 0x10;
const LOG_BLOCK_SIZE: usize = 0x18;
const LOG_CLUSTER_SIZE: usize = 0x1c;
const FREE_BLOCKS_HIGH: usize = 0x158;
const CHECKSUM: usize = 0x3fc;

/// What is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    /// Blocks; with the feature `bigalloc`, clusters.
    pub(super) blocks: u64,
    pub(super) inodes: u32,
}

/// The sums over all groups, as they are on the disk now, and the superblock.
pub(super) fn read(fs: &Filesystem) -> Ext4Result<(Counts, Superblock)> {
    let now = Superblock::read(&*fs.dev)?;
    let groups = bgd::read_all(&*fs.dev, &now, &fs.csum)?;
    let blocks = groups.iter().map(|group| u64::from(group.free_blocks_count)).sum();
    let inodes = groups.iter().map(|group| u64::from(group.free_inodes_count)).sum::<u64>();
    let inodes = u32::try_from(inodes).unwrap_or(u32::MAX).min(now.inodes_count);
    Ok((Counts { blocks, inodes }, now))
}

/// Bytes of what blocks are counted in.
pub(super) fn unit(superblock: &Superblock) -> u64 {
    let is_bigalloc = superblock.feature_ro_compat & RoCompat::BIGALLOC.bits() != 0;
    let word = if is_bigalloc { LOG_CLUSTER_SIZE } else { LOG_BLOCK_SIZE };
    1024 << superblock.raw[word].min(21)
}

/// Writes the sums into the superblock, as the kernel does, if it says anything else.
pub(super) fn settle(fs: &Filesystem, disk: &dyn Disk) -> Ext4Result<bool> {
    let (counts, now) = read(fs)?;
    let said = Counts { blocks: now.free_blocks_count, inodes: now.free_inodes_count };
    if said == counts {
        return Ok(false);
    }
    let mut raw = now.raw;
    let bytes = counts.blocks.to_le_bytes();
    raw[FREE_BLOCKS..FREE_BLOCKS + 4].copy_from_slice(&bytes[..4]);
    raw[FREE_BLOCKS_HIGH..FREE_BLOCKS_HIGH + 4].copy_from_slice(&bytes[4..]);
    raw[FREE_INODES..FREE_INODES + 4].copy_from_slice(&counts.inodes.to_le_bytes());
    if fs.csum.enabled {
        let checksum = linux_crc32c(!0, &raw[..CHECKSUM]);
        raw[CHECKSUM..CHECKSUM + 4].copy_from_slice(&checksum.to_le_bytes());
    }
    disk.write_at(&raw, SUPERBLOCK)?;
    Ok(true)
}
