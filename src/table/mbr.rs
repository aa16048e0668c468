//! MBR as it is on the disk: one sector, and a chain of more for logical partitions.

use std::io;

use mbrman::{CHS, MBRHeader, MBRPartitionEntry};

use crate::disk::{Cursor, Disk};
use crate::util::error::{Context, Error, Result};

/// The type of the entry that protects a GPT.
pub(super) const PROTECTIVE: u8 = 0xee;
/// Numbers of logical partitions; Linux stops at 256 minors, too.
const FIRST_LOGICAL: u32 = 5;
const LAST_LOGICAL: u32 = 255;

/// A partition; start and size in sectors of the disk.
pub(super) struct MbrEntry {
    pub(super) number: u32,
    pub(super) kind: u8,
    pub(super) bootable: bool,
    pub(super) start: u64,
    pub(super) sectors: u64,
}

impl MbrEntry {
    /// An entry of a table in sector `base`, from which it counts.
    fn new(number: u32, base: u64, entry: &MBRPartitionEntry) -> Self {
        Self {
            number,
            kind: entry.sys,
            bootable: entry.is_active(),
            start: base + u64::from(entry.starting_lba),
            sectors: entry.sectors.into(),
        }
    }
}

/// Decodes a boot sector; `None` when it is none, or holds something but a partition table.
pub(super) fn parse(sector: &[u8]) -> Option<MBRHeader> {
    MBRHeader::read_from(&mut io::Cursor::new(sector)).ok()
}

/// Reads sector 0; `None` when no table is there.
pub(super) fn read(disk: &dyn Disk) -> io::Result<Option<MBRHeader>> {
    if disk.size() < 512 {
        return Ok(None);
    }
    let mut sector = vec![0; 512];
    disk.read_at(&mut sector, 0)?;
    Ok(parse(&sector).filter(|header| is_table(header, &sector)))
}

/// FAT, exFAT and NTFS begin with a sector that ends in `55aa` as well: with boot code or zeros
/// where a table has its entries.
fn is_table(header: &MBRHeader, sector: &[u8]) -> bool {
    let mut used = header.iter().map(|(_, entry)| entry).filter(|entry| entry.is_used()).peekable();
    match (is_volume(sector), used.peek().is_some()) {
        (true, true) => used.all(|entry| entry.starting_lba > 0 && entry.sectors > 0),
        (true, false) => false,
        (false, true) => true,
        (false, false) => header.disk_signature != [0; 4],
    }
}

/// Whether a boot sector is a file system's.
fn is_volume(sector: &[u8]) -> bool {
    sector[3..].starts_with(b"NTFS    ")
        || sector[3..].starts_with(b"EXFAT   ")
        || sector[54..].starts_with(b"FAT")
        || sector[82..].starts_with(b"FAT32")
}

/// Everything but extended partitions: those of the first sector, then the logical ones.
pub(super) fn entries(
    disk: &dyn Disk,
    sector_size: u32,
    header: &MBRHeader,
) -> Result<Vec<MbrEntry>> {
    let mut entries = Vec::new();
    let mut extended = None;
    for (number, (_, entry)) in (1..).zip(header.iter()) {
        if entry.is_extended() {
            // A second one is not followed.
            extended = extended.or(Some(entry));
        } else if entry.is_used() {
            entries.push(MbrEntry::new(number, 0, entry));
        }
    }
    if let Some(extended) = extended {
        read_logical(disk, sector_size, extended, &mut entries)?;
    }
    Ok(entries)
}

/// Follows the chain of extended boot records.
fn read_logical(
    disk: &dyn Disk,
    sector_size: u32,
    extended: &MBRPartitionEntry,
    entries: &mut Vec<MbrEntry>,
) -> Result<()> {
    let sectors = disk.size() / u64::from(sector_size);
    let first = u64::from(extended.starting_lba);
    let mut record = first;
    for number in FIRST_LOGICAL..=LAST_LOGICAL {
        if record == 0 || record >= sectors {
            return Err(Error::input("the chain of logical partitions leaves the disk"));
        }
        let mut sector = vec![0; 512];
        disk.read_at(&mut sector, record * u64::from(sector_size))
            .context(|| "reading the partition table")?;
        // An extended partition without a record is an empty one.
        let Some(table) = parse(&sector) else { return Ok(()) };
        if table.partition_1.is_used() && table.partition_1.sectors > 0 {
            entries.push(MbrEntry::new(number, record, &table.partition_1));
        }
        let next = &table.partition_2;
        if next.starting_lba == 0 || next.sectors == 0 {
            return Ok(());
        }
        record = first + u64::from(next.starting_lba);
    }
    // A chain that loops ends here as well.
    Err(Error::input("the disk has more logical partitions than Linux knows"))
}

/// Writes sector 0; all of it, boot code too.
pub(super) fn write(disk: &dyn Disk, header: &MBRHeader) -> Result<()> {
    header
        .write_into(&mut Cursor::new(disk))
        .map_err(|error| Error::failure(error.to_string()))
        .context(|| "writing the partition table")
}

/// Cylinder, head and sector as BIOSes since the 1990s count them; `None` past 8 GB.
pub(super) fn exact_chs(lba: u32) -> Option<CHS> {
    CHS::from_lba_exact(lba, 1023, 255, 63).ok()
}

/// The same, or the last sector that can be said so.
pub(super) fn chs(lba: u32) -> CHS {
    exact_chs(lba).unwrap_or(CHS::new(1023, 254, 63))
}
