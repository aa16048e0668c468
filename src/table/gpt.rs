//! GPT as it is on the disk: two copies of a header and an array of entries.

use std::io;

use gptman::{GPTHeader, GPTPartitionEntry};

use crate::disk::{Cursor, Disk};
use crate::util::error::{Context, Error, Result};

/// Entries a table may have. Everybody writes 128; the rest is room for the unusual.
const MOST_ENTRIES: u32 = 1024;
/// Bytes of an entry; the specification allows more, but no program writes more.
const ENTRY_SIZE: u32 = 128;

/// One copy of a GPT.
#[derive(Clone, Debug)]
pub(super) struct Gpt {
    pub(super) sector_size: u32,
    pub(super) header: GPTHeader,
    pub(super) entries: Vec<GPTPartitionEntry>,
}

/// What stands where a copy should be.
#[derive(Debug)]
pub(super) enum FoundTable {
    /// Nothing that looks like one.
    Nothing,
    /// One that cannot be used, and why.
    Damaged(String),
    /// A sound one.
    Sound(Box<Gpt>),
}

impl FoundTable {
    pub(super) fn sound(self) -> Option<Gpt> {
        match self {
            Self::Sound(gpt) => Some(*gpt),
            Self::Nothing | Self::Damaged(_) => None,
        }
    }
}

/// Reads the copy whose header is in sector `lba`.
pub(super) fn read_copy(disk: &dyn Disk, sector_size: u32, lba: u64) -> io::Result<FoundTable> {
    let sectors = disk.size() / u64::from(sector_size);
    if lba >= sectors {
        return Ok(FoundTable::Nothing);
    }
    let mut sector = vec![0; 512];
    disk.read_at(&mut sector, lba * u64::from(sector_size))?;
    if !sector.starts_with(b"EFI PART") {
        return Ok(FoundTable::Nothing);
    }
    let header = match GPTHeader::read_from(&mut io::Cursor::new(&sector)) {
        Ok(header) => header,
        Err(error) => return Ok(FoundTable::Damaged(error.to_string())),
    };
    match check_header(&header, lba, sectors, sector_size) {
        Ok(()) => {}
        Err(reason) => return Ok(FoundTable::Damaged(reason)),
    }
    Ok(match read_entries(disk, &header, sector_size)? {
        Ok(entries) => FoundTable::Sound(Box::new(Gpt { sector_size, header, entries })),
        Err(reason) => FoundTable::Damaged(reason),
    })
}

/// What gptman takes on trust.
fn check_header(
    header: &GPTHeader,
    lba: u64,
    sectors: u64,
    sector_size: u32,
) -> Result<(), String> {
    if header.primary_lba != lba {
        return Err(format!("it says it is in sector {}, but is in {lba}", header.primary_lba));
    }
    if header.size_of_partition_entry != ENTRY_SIZE {
        return Err(format!("its entries have {} bytes", header.size_of_partition_entry));
    }
    if header.number_of_partition_entries == 0 || header.number_of_partition_entries > MOST_ENTRIES
    {
        return Err(format!("it has {} entries", header.number_of_partition_entries));
    }
    if lba != 1 && header.backup_lba != 1 {
        return Err(format!("it says the other copy is in sector {}", header.backup_lba));
    }
    let array = array_sectors(header, sector_size);
    let end = header.partition_entry_lba.checked_add(array);
    // A first copy keeps its entries before the usable sectors.
    let limit = if lba == 1 { header.first_usable_lba } else { sectors };
    if header.partition_entry_lba < 2 || end.is_none_or(|end| end > limit.min(sectors)) {
        return Err("its entries lie outside the sectors for them".to_owned());
    }
    if header.first_usable_lba < 2 + array
        || header.first_usable_lba > header.last_usable_lba
        || header.last_usable_lba >= sectors
    {
        return Err("its usable sectors lie outside the disk".to_owned());
    }
    Ok(())
}

/// Sectors of the array of entries.
pub(super) fn array_sectors(header: &GPTHeader, sector_size: u32) -> u64 {
    (u64::from(header.number_of_partition_entries) * u64::from(ENTRY_SIZE))
        .div_ceil(u64::from(sector_size))
}

fn read_entries(
    disk: &dyn Disk,
    header: &GPTHeader,
    sector_size: u32,
) -> io::Result<Result<Vec<GPTPartitionEntry>, String>> {
    let length = header.number_of_partition_entries as usize * ENTRY_SIZE as usize;
    // gptman reads some bytes past each entry.
    let mut array = vec![0; length + 4096];
    disk.read_at(&mut array[..length], header.partition_entry_lba * u64::from(sector_size))?;
    let from_start = GPTHeader { partition_entry_lba: 0, ..header.clone() };
    Ok(from_start
        .read_partitions(&mut io::Cursor::new(&array), u64::from(sector_size))
        .map_err(|error| error.to_string()))
}

impl Gpt {
    /// An empty table for the whole of a disk.
    pub(super) fn new(disk: &dyn Disk, sector_size: u32, disk_guid: [u8; 16]) -> Result<Self> {
        // Protective MBR, two headers, two arrays, and something to partition.
        let array = u64::from(128 * ENTRY_SIZE).div_ceil(u64::from(sector_size));
        if disk.size() / u64::from(sector_size) < 2 * (array + 1) + 2 {
            return Err(Error::input(format!(
                "a disk of {} bytes is too small for a partition table",
                disk.size()
            )));
        }
        let header = GPTHeader::new_from(&mut Cursor::new(disk), u64::from(sector_size), disk_guid)
            .map_err(|error| Error::failure(error.to_string()))?;
        let entries = vec![GPTPartitionEntry::empty(); header.number_of_partition_entries as usize];
        Ok(Self { sector_size, header, entries })
    }

    /// Used entries with their numbers, counted from 1.
    pub(super) fn used(&self) -> impl Iterator<Item = (u32, &GPTPartitionEntry)> {
        (1..).zip(&self.entries).filter(|(_, entry)| entry.is_used())
    }

    /// Errors when a partition is not inside the usable sectors, or two of them overlap.
    pub(super) fn check(&self) -> Result<()> {
        let mut used: Vec<_> = self.used().collect();
        used.sort_by_key(|(_, entry)| entry.starting_lba);
        for (number, entry) in &used {
            if entry.starting_lba < self.header.first_usable_lba
                || entry.starting_lba > entry.ending_lba
                || entry.ending_lba > self.header.last_usable_lba
            {
                return Err(Error::input(format!(
                    "partition {number} is outside the usable part of the disk"
                )));
            }
        }
        for pair in used.windows(2) {
            let [(one, before), (other, after)] = pair else { continue };
            if after.starting_lba <= before.ending_lba {
                return Err(Error::input(format!("partitions {one} and {other} overlap")));
            }
        }
        Ok(())
    }

    /// The same table as the other copy: at the end of the disk for a primary, at its start for
    /// a backup.
    pub(super) fn twin(&self) -> Self {
        let mut twin = self.clone();
        twin.header.primary_lba = self.header.backup_lba;
        twin.header.backup_lba = self.header.primary_lba;
        twin.header.partition_entry_lba = if self.header.primary_lba == 1 {
            self.header.backup_lba - array_sectors(&self.header, self.sector_size)
        } else {
            2
        };
        twin
    }

    /// Whether two copies say the same, apart from where they are.
    pub(super) fn agrees_with(&self, other: &Self) -> bool {
        self.entries == other.entries
            && self.header.disk_guid == other.header.disk_guid
            && self.header.first_usable_lba == other.header.first_usable_lba
            && self.header.last_usable_lba == other.header.last_usable_lba
            && self.header.backup_lba == other.header.primary_lba
            && self.header.primary_lba == other.header.backup_lba
    }

    /// Writes this copy in its place; checksums are made here.
    pub(super) fn write(&mut self, disk: &dyn Disk) -> Result<()> {
        self.header
            .write_into(&mut Cursor::new(disk), u64::from(self.sector_size), &self.entries)
            .map_err(|error| Error::failure(error.to_string()))
            .context(|| "writing the partition table")
    }

    /// Moves the backup to the end of a disk, which may have grown.
    pub(super) fn fit(&mut self, disk: &dyn Disk) -> Result<()> {
        let sectors = disk.size() / u64::from(self.sector_size);
        let array = array_sectors(&self.header, self.sector_size);
        self.header.backup_lba = sectors - 1;
        self.header.last_usable_lba = sectors - 2 - array;
        if self.header.last_usable_lba < self.header.first_usable_lba {
            return Err(Error::input("the disk is too small for its partition table"));
        }
        self.check()
    }
}
