//! ext2, ext3, ext4. Source: the kernel's `Documentation/filesystems/ext4`.

use std::io;
use std::ops::Range;

use super::ranges::number;
use crate::disk::Disk;

const SUPERBLOCK: u64 = 1024;
const MAGIC: u64 = 0xef53;

/// Features with which blocks are laid out, or counted, otherwise than here.
const INCOMPAT_META_BG: u64 = 0x10;
const INCOMPAT_64BIT: u64 = 0x80;
const RO_COMPAT_GDT_CSUM: u64 = 0x10;
const RO_COMPAT_BIGALLOC: u64 = 0x200;
const RO_COMPAT_METADATA_CSUM: u64 = 0x400;

/// Flags of a block group: its inode table, or its bitmap, has never been used.
const INODE_UNINIT: u64 = 1;
const BLOCK_UNINIT: u64 = 2;

/// The blocks that bitmaps mark, without those of inode tables that no inode was ever in: drivers
/// and checkers leave those unread.
pub(super) fn in_use(disk: &dyn Disk) -> io::Result<Option<Vec<Range<u64>>>> {
    let mut superblock = vec![0; 1024];
    disk.read_at(&mut superblock, SUPERBLOCK)?;
    let field = |at: usize, size: usize| number(&superblock, at, size);
    let (incompat, ro_compat) = (field(0x60, 4), field(0x64, 4));
    let odd = incompat & INCOMPAT_META_BG != 0 || ro_compat & RO_COMPAT_BIGALLOC != 0;
    if field(0x38, 2) != MAGIC || odd || field(0x18, 4) > 6 {
        return Ok(None);
    }
    let is_64bit = incompat & INCOMPAT_64BIT != 0;
    let counts_inodes = ro_compat & (RO_COMPAT_GDT_CSUM | RO_COMPAT_METADATA_CSUM) != 0;
    let block = 1024 << field(0x18, 4);
    let high = if is_64bit { field(0x150, 4) } else { 0 };
    let (first, blocks, per_group) = (field(0x14, 4), field(0x4, 4) | high << 32, field(0x20, 4));
    let (inodes, inode_size) = (field(0x28, 4), field(0x58, 2).max(128));
    let descriptor = if is_64bit { field(0xfe, 2).max(64) } else { 32 };
    if per_group == 0 || per_group > 8 * block || blocks > disk.size() / block {
        return Ok(None);
    }

    let superblock = 0..(first + 1) * block;
    let mut ranges = vec![superblock];
    let mut unused = Vec::new();
    let groups = (blocks - first).div_ceil(per_group);
    let mut bytes = vec![0; usize::try_from(groups * descriptor).map_err(io::Error::other)?];
    disk.read_at(&mut bytes, (first + 1) * block)?;
    let mut bitmap = vec![0; usize::try_from(block).map_err(io::Error::other)?];
    for (group, bytes) in (0..groups).zip(bytes.chunks(usize::try_from(descriptor).unwrap_or(64))) {
        let wide = |low: usize, high: usize, size: usize| {
            let high = if is_64bit { number(bytes, high, size) } else { 0 };
            number(bytes, low, size) | high << (8 * size)
        };
        let flags = number(bytes, 0x12, 2);
        if counts_inodes {
            let never = if flags & INODE_UNINIT == 0 { wide(0x1c, 0x32, 2) } else { inodes };
            let table = wide(0x8, 0x28, 4) * block;
            let used = inodes.saturating_sub(never) * inode_size;
            unused.push(table + used.next_multiple_of(block)..table + inodes * inode_size);
        }
        if counts_inodes && flags & BLOCK_UNINIT != 0 {
            continue; // what it holds for other groups is not zeros
        }
        disk.read_at(&mut bitmap, wide(0x0, 0x20, 4) * block)?;
        let start = first + group * per_group;
        let marked = |it: u64| {
            let byte = usize::try_from(it / 8).ok().and_then(|at| bitmap.get(at));
            byte.is_some_and(|byte| byte >> (it % 8) & 1 == 1)
        };
        for it in (0..per_group.min(blocks - start)).filter(|it| marked(*it)) {
            let at = (start + it) * block;
            match ranges.last_mut() {
                Some(last) if last.end == at => last.end = at + block,
                _ => ranges.push(at..at + block),
            }
        }
    }
    Ok(Some(without(ranges, unused)))
}

/// `ranges` less `holes`.
fn without(ranges: Vec<Range<u64>>, holes: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let holes = super::join(holes);
    let mut left = Vec::new();
    for range in ranges {
        let mut start = range.start;
        let first = holes.partition_point(|hole| hole.end <= start);
        for hole in holes[first..].iter().take_while(|hole| hole.start < range.end) {
            left.push(start..hole.start.max(start));
            start = hole.end.min(range.end);
        }
        left.push(start..range.end);
    }
    left
}
