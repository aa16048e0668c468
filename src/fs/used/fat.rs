//! FAT16 and FAT32. Source: Microsoft's *FAT: General Overview of On-Disk Format* 1.03.

use std::io;
use std::ops::Range;

use super::ranges::number;
use crate::disk::Disk;

/// Below so many clusters it is FAT12, whose entries are no whole bytes; such disks are small.
const LEAST_FAT16: u64 = 4085;
const LEAST_FAT32: u64 = 65525;

/// Everything before the first cluster, and the clusters with an entry in the table.
pub(super) fn in_use(disk: &dyn Disk) -> io::Result<Option<Vec<Range<u64>>>> {
    let mut boot = vec![0; 512];
    disk.read_at(&mut boot, 0)?;
    let field = |at: usize, size: usize| number(&boot, at, size);
    let either = |short, long| if short == 0 { long } else { short };
    let sector = field(0x0b, 2);
    let cluster = field(0x0d, 1) * sector;
    let (reserved, tables, entries) = (field(0x0e, 2), field(0x10, 1), field(0x11, 2));
    let sectors = either(field(0x13, 2), field(0x20, 4));
    let table = either(field(0x16, 2), field(0x24, 4));
    if cluster == 0 || !sector.is_power_of_two() || sectors > disk.size() / sector {
        return Ok(None);
    }
    let first = (reserved + tables * table) * sector + (entries * 32).next_multiple_of(sector);
    let clusters = (sectors * sector).saturating_sub(first) / cluster;
    // FAT32 says so by having no size of its tables in 16 bits, however few its clusters are.
    let is_fat32 = field(0x16, 2) == 0;
    let width = match clusters {
        _ if is_fat32 => 4,
        LEAST_FAT16..LEAST_FAT32 => 2,
        _ => return Ok(None),
    };
    let length = (clusters + 2) * width;
    if length > table * sector {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    disk.read_at(&mut bytes, reserved * sector)?;
    let before = 0..first;
    let mut ranges = vec![before];
    let entries = bytes.chunks(if width == 2 { 2 } else { 4 }).skip(2);
    for (index, entry) in (0..clusters).zip(entries) {
        // The upper four bits of FAT32's are not the entry's.
        if number(entry, 0, entry.len()) & 0x0fff_ffff != 0 {
            let at = first + index * cluster;
            match ranges.last_mut() {
                Some(last) if last.end == at => last.end = at + cluster,
                _ => ranges.push(at..at + cluster),
            }
        }
    }
    Ok(Some(ranges))
}
