//! New tables for bases made from packages.

use std::ops::Range;

use gptman::GPTPartitionEntry;
use mbrman::{CHS, MBRHeader, MBRPartitionEntry};
use uuid::Uuid;

use super::gpt::Gpt;
use crate::disk::Disk;
use crate::table::mbr;
use crate::util::error::{Context, Error, Result};

/// A partition of a new GPT. Start and size count the disk's sectors.
#[derive(Clone, Debug)]
pub struct NewGptPartition<'a> {
    /// 1 to 128.
    pub number: u32,
    /// First sector.
    pub start: u64,
    /// Sectors.
    pub sectors: u64,
    /// Its type: [`super::guid`].
    pub kind: Uuid,
    /// Its own GUID, unique.
    pub guid: Uuid,
    /// 36 UTF-16 units at most.
    pub name: &'a str,
    /// Attribute bits.
    pub attributes: u64,
}

/// A partition of a new MBR. Start and size count the disk's sectors.
#[derive(Clone, Copy, Debug)]
pub struct NewMbrPartition {
    /// 1 to 4.
    pub number: u32,
    /// First sector.
    pub start: u32,
    /// Sectors.
    pub sectors: u32,
    /// Its type byte.
    pub kind: u8,
    /// Whether it has the boot flag.
    pub bootable: bool,
}

/// Writes a GPT with its protective MBR; whatever was in their sectors is gone.
pub fn create_gpt(
    disk: &dyn Disk,
    disk_guid: Uuid,
    partitions: &[NewGptPartition<'_>],
) -> Result<()> {
    let sector_size = disk.sector_size();
    let mut gpt = Gpt::new(disk, sector_size, disk_guid.to_bytes_le())?;
    for new in partitions {
        let number = new.number;
        let entry = (number as usize)
            .checked_sub(1)
            .and_then(|index| gpt.entries.get_mut(index))
            .ok_or_else(|| Error::input(format!("a GPT has no partition {number}")))?;
        if entry.is_used() {
            return Err(Error::input(format!("partition {number} is there twice")));
        }
        if new.name.encode_utf16().count() > 36 {
            return Err(Error::input(format!(
                "the partition name `{}` is longer than 36 characters",
                new.name
            )));
        }
        let ending_lba = new.start.checked_add(new.sectors).and_then(|end| end.checked_sub(1));
        *entry = GPTPartitionEntry {
            partition_type_guid: new.kind.to_bytes_le(),
            unique_partition_guid: new.guid.to_bytes_le(),
            starting_lba: new.start,
            ending_lba: ending_lba
                .ok_or_else(|| Error::input(format!("partition {number} has no size")))?,
            attribute_bits: new.attributes,
            partition_name: new.name.into(),
        };
    }
    gpt.check()?;

    // gptman leaves the rest of the headers' sectors as it was.
    let sector_size = u64::from(sector_size);
    clear(disk, 0, gpt.header.first_usable_lba * sector_size)?;
    let after = (gpt.header.last_usable_lba + 1) * sector_size;
    clear(disk, after, disk.size() - after)?;
    gpt.twin().write(disk)?;
    gpt.write(disk)?;
    let mut header = MBRHeader::new([0; 4]);
    header.partition_1 = protective_entry(disk.size() / sector_size);
    mbr::write(disk, &header)
}

/// The entry that keeps tools that know no GPT off the disk: all but sector 0
/// (UEFI specification, table 5.4).
pub(super) fn protective_entry(sectors: u64) -> MBRPartitionEntry {
    // 24 bits of ones say that the last sector is past what can be said in them.
    let past = CHS::new(1023, 255, 63);
    let last = u32::try_from(sectors - 1).ok();
    MBRPartitionEntry {
        boot: mbrman::BOOT_INACTIVE,
        first_chs: CHS::new(0, 0, 2),
        sys: mbr::PROTECTIVE,
        last_chs: last.and_then(mbr::exact_chs).unwrap_or(past),
        starting_lba: 1,
        sectors: last.unwrap_or(u32::MAX),
    }
}

/// Writes an MBR of primary partitions and no boot code.
pub fn create_mbr(disk: &dyn Disk, disk_id: u32, partitions: &[NewMbrPartition]) -> Result<()> {
    let mut header = MBRHeader::new(disk_id.to_le_bytes());
    let mut taken = Vec::new();
    for new in partitions {
        let number = new.number;
        let range = u64::from(new.start)..u64::from(new.start) + u64::from(new.sectors);
        if range.start == 0
            || range.is_empty()
            || range.end > disk.size() / u64::from(disk.sector_size())
        {
            return Err(Error::input(format!("partition {number} is outside the disk")));
        }
        if range.end > 1 << 32 {
            return Err(Error::input(format!("partition {number} ends past what an MBR counts")));
        }
        if taken.iter().any(|other: &Range<u64>| range.start < other.end && other.start < range.end)
        {
            return Err(Error::input(format!("partition {number} overlaps another")));
        }
        taken.push(range.clone());
        let entry = header
            .get_mut(number as usize)
            .ok_or_else(|| Error::input(format!("an MBR has no partition {number}")))?;
        if entry.is_used() {
            return Err(Error::input(format!("partition {number} is there twice")));
        }
        if new.kind == 0 {
            return Err(Error::input(format!("partition {number} has type 0, which is none")));
        }
        *entry = MBRPartitionEntry {
            boot: if new.bootable { mbrman::BOOT_ACTIVE } else { mbrman::BOOT_INACTIVE },
            first_chs: mbr::chs(new.start),
            sys: new.kind,
            last_chs: mbr::chs(new.start + (new.sectors - 1)),
            starting_lba: new.start,
            sectors: new.sectors,
        };
    }
    mbr::write(disk, &header)
}

/// Overwrites bytes with zeros.
fn clear(disk: &dyn Disk, start: u64, length: u64) -> Result<()> {
    let zeros = vec![0; usize::try_from(length).expect("a partition table is small")];
    disk.write_at(&zeros, start).context(|| "writing the partition table")
}
