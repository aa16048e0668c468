//! Partitions and their file systems.

use std::sync::Arc;

use serde::Serialize;

use crate::disk::Disk;
use crate::fs::{self, Kind};
use crate::image::{Part, ReadOnly};
use crate::table::{Copies, PartitionTable, Scheme};

/// A partition table.
#[derive(Clone, Debug, Serialize)]
pub struct TableFacts {
    /// `gpt` or `mbr`.
    pub scheme: &'static str,
    /// A GUID, or eight hexadecimal digits.
    pub disk_id: String,
    /// Bytes.
    pub sector_size: u32,
}

/// A partition, or all of a disk without a table.
#[derive(Clone, Debug, Serialize)]
pub struct PartitionFacts {
    /// `None` for a disk without a table.
    pub number: Option<u32>,
    /// Where it begins, in bytes.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// What the table says is in it.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Its name in the table.
    pub name: Option<String>,
    /// What `PARTUUID=` calls it.
    pub id: Option<String>,
    /// What is in it: `ext4`, `FAT32`, `LUKS encryption`; `None` for nothing that is known.
    pub file_system: Option<String>,
    /// The file system's label.
    pub label: Option<String>,
    /// What `UUID=` calls it.
    pub uuid: Option<String>,
    /// Where the image's fstab mounts it.
    pub mount_point: Option<String>,
    /// Bytes in use.
    pub used: Option<u64>,
    /// Bytes free, those reserved for root included.
    pub free: Option<u64>,
    /// Why no more is known.
    pub problem: Option<String>,
}

impl TableFacts {
    pub(super) fn of(table: &PartitionTable) -> Self {
        let scheme = match table.scheme {
            Scheme::Gpt { .. } => "gpt",
            Scheme::Mbr { .. } => "mbr",
        };
        Self { scheme, disk_id: table.disk_id(), sector_size: table.sector_size }
    }
}

/// What its owner might want to know of a table.
pub(super) fn oddities(table: &PartitionTable) -> Vec<String> {
    let mut oddities = Vec::new();
    if let Scheme::Gpt { hybrid, copies, .. } = table.scheme {
        if hybrid {
            oddities.push("the protective MBR lists partitions of its own".to_owned());
        }
        match copies {
            Copies::Sound => {}
            Copies::PrimaryOnly => oddities
                .push("the GPT's second copy is damaged, or not at the disk's end".to_owned()),
            Copies::BackupOnly => oddities.push("the GPT's first copy is damaged".to_owned()),
        }
    }
    oddities
}

impl PartitionFacts {
    pub(super) fn of(disk: &Arc<dyn Disk>, part: &Part) -> Self {
        let partition = part.partition.as_ref();
        let is_known = !matches!(part.kind, Kind::Empty | Kind::Unknown);
        let file_system = is_known.then(|| part.kind.name().to_owned());
        let mut facts = Self {
            number: part.number(),
            start: part.range.start,
            size: part.range.end - part.range.start,
            kind: partition.map(|partition| partition.kind.to_string()),
            name: partition.map(|it| it.name.clone()).filter(|name| !name.is_empty()),
            id: partition.map(|partition| partition.id.clone()),
            file_system,
            label: None,
            uuid: None,
            mount_point: part.mount_point.as_ref().map(|point| point.display().to_string()),
            used: None,
            free: None,
            problem: None,
        };
        if matches!(part.kind, Kind::Ext4 | Kind::Fat) {
            let mut look = || -> crate::util::error::Result<()> {
                let volume = fs::open(Arc::new(ReadOnly(part.disk(disk)?)), 0)?;
                facts.file_system = Some(volume.kind().to_owned());
                facts.label = volume.label();
                facts.uuid = volume.uuid();
                let space = volume.space()?;
                facts.used = Some(space.total.saturating_sub(space.free));
                facts.free = Some(space.free);
                Ok(())
            };
            facts.problem = look().err().map(|error| error.to_string());
            if facts.problem.is_some()
                && part.kind == Kind::Ext4
                && let Ok(disk) = part.disk(disk)
            {
                // What names it can be read for longer than what is in it.
                (facts.label, facts.uuid) = fs::Ext4::identity(&*disk);
                facts.file_system = Some(fs::Ext4::flavor(&*disk).to_owned());
            }
        }
        facts
    }
}
