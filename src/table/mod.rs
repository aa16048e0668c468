//! Partition tables: GPT through gptman, MBR through mbrman; both crates only ever see bytes
//! that were checked here first.

mod create;
mod gpt;
mod grow;
mod kinds;
mod mbr;
mod read;

#[cfg(test)]
mod mutation;
#[cfg(test)]
mod tests;

pub use create::{NewGptPartition, NewMbrPartition, create_gpt, create_mbr};
pub use grow::{DiskId, Repair, grow_last, repair_backup, set_disk_id};
pub use kinds::{PartitionType, guid};
pub use read::read;

use std::ops::Range;

use uuid::Uuid;

/// A disk's partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionTable {
    /// Which kind, and the disk's id in it.
    pub scheme: Scheme,
    /// The unit it counts in, in bytes: 512 or 4096.
    pub sector_size: u32,
    /// By number. Extended partitions are left out, the logical ones inside them are here.
    pub partitions: Vec<Partition>,
}

/// The kind of a partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// GUID partition table (UEFI specification, chapter 5).
    Gpt {
        /// The disk's GUID.
        disk_guid: Uuid,
        /// Whether the protective MBR lists partitions of its own as well.
        hybrid: bool,
        /// How its two copies are.
        copies: Copies,
    },
    /// Master boot record.
    Mbr {
        /// The disk's signature: bytes 440 to 443, little-endian.
        disk_id: u32,
    },
}

/// How a GPT's two copies are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    /// Equal, each in its place.
    Sound,
    /// The second copy is damaged, missing, different, or not at the disk's end.
    PrimaryOnly,
    /// The first copy is damaged.
    BackupOnly,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Counted from 1; logical partitions of an MBR from 5.
    pub number: u32,
    /// Bytes of the disk.
    pub range: Range<u64>,
    /// What is said to be in it.
    pub kind: PartitionType,
    /// What `PARTUUID=` in fstab says: a GUID, or `<disk id>-<number>` in hexadecimal.
    pub id: String,
    /// Its name; empty on MBR.
    pub name: String,
    /// GPT's attribute bits; 0 on MBR.
    pub attributes: u64,
    /// The flag by which old BIOSes choose a partition.
    pub bootable: bool,
}

impl PartitionTable {
    /// The partition that lies last on the disk, whatever its number.
    pub fn last_on_disk(&self) -> Option<&Partition> {
        self.partitions.iter().max_by_key(|partition| partition.range.end)
    }

    /// The partition with a number.
    pub fn partition(&self, number: u32) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.number == number)
    }

    /// The disk's own id as tools print it: a GUID, or 8 hexadecimal digits.
    pub fn disk_id(&self) -> String {
        match self.scheme {
            Scheme::Gpt { disk_guid, .. } => disk_guid.to_string(),
            Scheme::Mbr { disk_id } => format!("{disk_id:08x}"),
        }
    }
}
