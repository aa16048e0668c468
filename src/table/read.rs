//! Reading: what table a disk has, and what is in it.

use std::ops::Range;

use mbrman::MBRHeader;
use uuid::Uuid;

use super::gpt::{FoundTable, Gpt};
use super::kinds::PartitionType;
use super::{Copies, Partition, PartitionTable, Scheme};
use crate::disk::Disk;
use crate::table::{gpt, mbr};
use crate::util::error::{Context, Error, Result};

/// GPT's attribute "legacy BIOS bootable".
const LEGACY_BOOTABLE: u64 = 1 << 2;

/// Reads a disk's partition table. `None`: it has none, but perhaps a bare file system.
///
/// A GPT counts only when an MBR protects it, as for the kernel. Its sectors are the disk's, or
/// the other usual size when the table lies there: images of 4K drives are plain files.
pub fn read(disk: &dyn Disk) -> Result<Option<PartitionTable>> {
    let Some(header) = mbr::read(disk).context(|| "reading the partition table")? else {
        return Ok(None);
    };
    if is_protective(&header) {
        return read_gpt(disk, &header).map(Some);
    }
    read_mbr(disk, &header).map(Some)
}

/// Whether an MBR says that the disk belongs to a GPT.
pub(super) fn is_protective(header: &MBRHeader) -> bool {
    header.iter().any(|(_, entry)| entry.sys == mbr::PROTECTIVE)
}

/// Whether a protective MBR lists other partitions, too.
pub(super) fn is_hybrid(header: &MBRHeader) -> bool {
    header.iter().any(|(_, entry)| entry.is_used() && entry.sys != mbr::PROTECTIVE)
}

/// The usable copies of a disk's GPT; an error when there is none.
pub(super) fn copies(disk: &dyn Disk) -> Result<(Gpt, Copies)> {
    let other = if disk.sector_size() == 4096 { 512 } else { 4096 };
    let mut damage = None;
    for sector_size in [disk.sector_size(), other] {
        let last = (disk.size() / u64::from(sector_size)).saturating_sub(1);
        let read =
            |lba| gpt::read_copy(disk, sector_size, lba).context(|| "reading the partition table");
        match read(1)? {
            FoundTable::Sound(primary) => {
                let backup = read(primary.header.backup_lba)?.sound();
                let sound = primary.header.backup_lba == last
                    && backup.is_some_and(|backup| primary.agrees_with(&backup));
                let copies = if sound { Copies::Sound } else { Copies::PrimaryOnly };
                return Ok((*primary, copies));
            }
            FoundTable::Damaged(reason) => damage = damage.or(Some(reason)),
            FoundTable::Nothing => {}
        }
        match read(last)? {
            FoundTable::Sound(backup) => return Ok((*backup, Copies::BackupOnly)),
            FoundTable::Damaged(reason) => damage = damage.or(Some(reason)),
            FoundTable::Nothing => {}
        }
    }
    let reason = damage.unwrap_or_else(|| "neither of its two copies is there".to_owned());
    Err(Error::input(format!("the partition table cannot be used: {reason}"))
        .hint("the image may be cut short or damaged: get it again"))
}

fn read_gpt(disk: &dyn Disk, header: &MBRHeader) -> Result<PartitionTable> {
    let (gpt, copies) = copies(disk)?;
    let mut partitions = Vec::new();
    for (number, entry) in gpt.used() {
        let sectors = entry.ending_lba.checked_sub(entry.starting_lba).map(|length| length + 1);
        let range = byte_range(disk, gpt.sector_size, number, entry.starting_lba, sectors)?;
        partitions.push(Partition {
            number,
            range,
            kind: PartitionType::Guid(Uuid::from_bytes_le(entry.partition_type_guid)),
            id: Uuid::from_bytes_le(entry.unique_partition_guid).to_string(),
            name: entry.partition_name.as_str().to_owned(),
            attributes: entry.attribute_bits,
            bootable: entry.attribute_bits & LEGACY_BOOTABLE != 0,
        });
    }
    let disk_guid = Uuid::from_bytes_le(gpt.header.disk_guid);
    let scheme = Scheme::Gpt { disk_guid, hybrid: is_hybrid(header), copies };
    Ok(PartitionTable { scheme, sector_size: gpt.sector_size, partitions })
}

fn read_mbr(disk: &dyn Disk, header: &MBRHeader) -> Result<PartitionTable> {
    let sector_size = disk.sector_size();
    let disk_id = u32::from_le_bytes(header.disk_signature);
    let mut partitions = Vec::new();
    for entry in mbr::entries(disk, sector_size, header)? {
        let number = entry.number;
        partitions.push(Partition {
            number,
            range: byte_range(disk, sector_size, number, entry.start, Some(entry.sectors))?,
            kind: PartitionType::Byte(entry.kind),
            id: format!("{disk_id:08x}-{number:02x}"),
            name: String::new(),
            attributes: 0,
            bootable: entry.bootable,
        });
    }
    Ok(PartitionTable { scheme: Scheme::Mbr { disk_id }, sector_size, partitions })
}

/// A partition's bytes; an error when it has none or they are not all on the disk.
fn byte_range(
    disk: &dyn Disk,
    sector_size: u32,
    number: u32,
    start: u64,
    sectors: Option<u64>,
) -> Result<Range<u64>> {
    let sector_size = u64::from(sector_size);
    let end = sectors
        .filter(|sectors| *sectors > 0)
        .and_then(|sectors| start.checked_add(sectors)?.checked_mul(sector_size))
        .ok_or_else(|| Error::input(format!("partition {number} has no size")))?;
    if end > disk.size() {
        return Err(Error::input(format!("partition {number} reaches past the end of the disk"))
            .hint("the image may be cut short: get it again"));
    }
    Ok(start * sector_size..end)
}
