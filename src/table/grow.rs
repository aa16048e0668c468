//! Changes to a table that is there: more room, a sound backup, a new id.

use std::ops::Range;

use mbrman::MBRHeader;
use uuid::Uuid;

use super::create::protective_entry;
use super::gpt::Gpt;
use super::read::{copies, is_hybrid, is_protective};
use super::{Copies, PartitionTable, Scheme};
use crate::disk::Disk;
use crate::table::{mbr, read};
use crate::util::error::{Context, Error, Result};

/// Partitions end on multiples of this many bytes, as everybody's do.
const ALIGNMENT: u64 = 1024 * 1024;

/// What a repair had to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Both copies were sound, or the table is an MBR, which has one.
    Nothing,
    /// The backup was written again, from the first copy.
    Backup,
    /// The first copy was written again, from the backup.
    Primary,
}

/// Makes partition `number`, which must lie last on the disk, reach the disk's end, after the
/// disk itself has grown. Returns its bytes.
///
/// A GPT's backup moves to the end with it. Numbers, GUIDs, names, attributes, boot code and the
/// disk's id stay. The end is a multiple of 1 MiB; a partition is never made smaller.
/// What is refused is refused before anything is written.
pub fn grow_last(disk: &dyn Disk, number: u32) -> Result<Range<u64>> {
    let table = read(disk)?.ok_or_else(|| Error::input("the disk has no partition table"))?;
    check_last(&table, number)?;
    let header = master_boot_record(disk)?;
    match table.scheme {
        Scheme::Gpt { .. } => grow_gpt(disk, header, number)?,
        Scheme::Mbr { .. } => grow_mbr(disk, header, number, &table)?,
    }
    let grown = read(disk)?.and_then(|table| Some(table.partition(number)?.range.clone()));
    grown.ok_or_else(|| Error::failure("the partition table does not read back"))
}

fn check_last(table: &PartitionTable, number: u32) -> Result<()> {
    let last = table.last_on_disk().ok_or_else(|| Error::input("the disk has no partitions"))?;
    if table.partition(number).is_none() {
        return Err(Error::input(format!("the disk has no partition {number}")));
    }
    if last.number != number {
        return Err(Error::input(format!(
            "partition {number} cannot grow: partition {} is after it",
            last.number
        )));
    }
    Ok(())
}

fn master_boot_record(disk: &dyn Disk) -> Result<MBRHeader> {
    mbr::read(disk)
        .context(|| "reading the partition table")?
        .ok_or_else(|| Error::input("the disk has no partition table"))
}

/// The end for a partition now ending at byte `end`, when `limit` is the first byte it cannot have.
fn aligned_end(end: u64, limit: u64) -> u64 {
    end.max(limit / ALIGNMENT * ALIGNMENT)
}

fn grow_gpt(disk: &dyn Disk, header: MBRHeader, number: u32) -> Result<()> {
    let mut gpt = primary(disk, &header)?;
    gpt.fit(disk)?;
    let sector_size = u64::from(gpt.sector_size);
    let limit = (gpt.header.last_usable_lba + 1) * sector_size;
    let entry = (number as usize).checked_sub(1).and_then(|index| gpt.entries.get_mut(index));
    let entry = entry.ok_or_else(|| Error::input(format!("there is no partition {number}")))?;
    entry.ending_lba = aligned_end((entry.ending_lba + 1) * sector_size, limit) / sector_size - 1;
    write_gpt(disk, header, gpt)
}

/// A GPT as its primary copy, from whichever copy is sound.
fn primary(disk: &dyn Disk, header: &MBRHeader) -> Result<Gpt> {
    if is_hybrid(header) {
        return Err(Error::input("the disk has a hybrid MBR, whose two tables would disagree")
            .hint("make it an ordinary GPT first: `gdisk`, `x`, `n`, `w`"));
    }
    let (gpt, copies) = copies(disk)?;
    Ok(if copies == Copies::BackupOnly { gpt.twin() } else { gpt })
}

/// Writes both copies, the backup first: cut short, one of them is sound.
fn write_gpt(disk: &dyn Disk, mut header: MBRHeader, mut gpt: Gpt) -> Result<()> {
    gpt.check()?;
    gpt.twin().write(disk)?;
    gpt.write(disk)?;
    // What a hybrid MBR protects and lists was somebody's choice.
    if is_hybrid(&header) {
        return Ok(());
    }
    let protective = protective_entry(disk.size() / u64::from(gpt.sector_size));
    for (_, entry) in header.iter_mut().filter(|(_, entry)| entry.is_used()) {
        entry.sectors = protective.sectors;
        entry.last_chs = protective.last_chs;
    }
    mbr::write(disk, &header)
}

fn grow_mbr(
    disk: &dyn Disk,
    mut header: MBRHeader,
    number: u32,
    table: &PartitionTable,
) -> Result<()> {
    let sector_size = u64::from(table.sector_size);
    // An extended partition may reach further than the logical ones in it.
    if number > 4 || header.iter().any(|(_, entry)| entry.is_extended()) {
        return Err(Error::input("partitions of a disk with logical partitions cannot grow"));
    }
    let entry = header
        .get_mut(number as usize)
        .ok_or_else(|| Error::input(format!("there is no partition {number}")))?;
    let start = u64::from(entry.starting_lba);
    let end = (start + u64::from(entry.sectors)) * sector_size;
    // Starts and sizes are counted in 32 bits.
    let limit = disk.size().min((1 << 32) * sector_size);
    let sectors = aligned_end(end, limit) / sector_size - start;
    entry.sectors = u32::try_from(sectors).unwrap_or(u32::MAX);
    entry.last_chs = mbr::chs(entry.starting_lba + (entry.sectors - 1));
    mbr::write(disk, &header)
}

/// Makes both copies of a GPT sound again, the backup at the disk's end.
pub fn repair_backup(disk: &dyn Disk) -> Result<Repair> {
    let header = master_boot_record(disk)?;
    if !is_protective(&header) {
        return Ok(Repair::Nothing);
    }
    let (gpt, copies) = copies(disk)?;
    if copies == Copies::Sound {
        return Ok(Repair::Nothing);
    }
    let mut gpt = if copies == Copies::BackupOnly { gpt.twin() } else { gpt };
    gpt.fit(disk)?;
    write_gpt(disk, header, gpt)?;
    Ok(if copies == Copies::BackupOnly { Repair::Primary } else { Repair::Backup })
}

/// A disk's id, by its table's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskId {
    /// GPT's.
    Gpt(Uuid),
    /// MBR's; the ids of all its partitions begin with it.
    Mbr(u32),
}

/// Gives the disk a new id. On an MBR this changes every `PARTUUID`: whoever names
/// partitions so must follow.
pub fn set_disk_id(disk: &dyn Disk, id: DiskId) -> Result<()> {
    let mut header = master_boot_record(disk)?;
    match (id, is_protective(&header)) {
        (DiskId::Gpt(guid), true) => {
            let (gpt, copies) = copies(disk)?;
            let mut gpt = if copies == Copies::BackupOnly { gpt.twin() } else { gpt };
            gpt.header.disk_guid = guid.to_bytes_le();
            gpt.fit(disk)?;
            write_gpt(disk, header, gpt)
        }
        (DiskId::Mbr(id), false) => {
            header.disk_signature = id.to_le_bytes();
            mbr::write(disk, &header)
        }
        (DiskId::Gpt(_), false) => Err(Error::input("an MBR's id has 8 hexadecimal digits")),
        (DiskId::Mbr(_), true) => Err(Error::input("a GPT's id is a GUID")),
    }
}
