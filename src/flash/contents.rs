//! What a device holds now, for the question whether it may be overwritten.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::disk::{Disk, Slice};
use crate::fs;
use crate::table::{self, PartitionTable, Scheme};
use crate::util::error::Result;
use crate::util::printable::printable;

/// A device's contents, as far as they can be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Contents {
    /// In a word or two: `GPT`, `ext4`, `nothing`.
    pub kind: String,
    /// The label of a file system without a partition table.
    pub label: Option<String>,
    /// In the order of their numbers.
    pub partitions: Vec<PartContent>,
}

/// What is in a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartContent {
    /// Counted from 1.
    pub number: u32,
    /// Bytes.
    pub size: u64,
    /// The file system, or else what the table says.
    pub kind: String,
    /// The file system's label, or else the partition's name.
    pub label: Option<String>,
}

impl Contents {
    /// What a disk holds. Never fails: whatever it is, it can be described.
    pub fn of(disk: Arc<dyn Disk>) -> Self {
        match table::read(&*disk) {
            Ok(Some(table)) => Self::of_table(&disk, &table),
            Ok(None) => {
                let (kind, label) =
                    describe(disk).unwrap_or_else(|_| ("unreadable".to_owned(), None));
                Self { kind, label, partitions: Vec::new() }
            }
            Err(_) => Self::bare("a damaged partition table"),
        }
    }

    /// For a device that may not be read.
    pub fn unreadable() -> Self {
        Self::bare("unknown")
    }

    fn bare(kind: &str) -> Self {
        Self { kind: kind.to_owned(), label: None, partitions: Vec::new() }
    }

    fn of_table(disk: &Arc<dyn Disk>, table: &PartitionTable) -> Self {
        let scheme = match table.scheme {
            Scheme::Gpt { .. } => "GPT",
            Scheme::Mbr { .. } => "MBR",
        };
        let content = |partition: &table::Partition| {
            let slice = Slice::new(Arc::clone(disk), partition.range.clone());
            let found = slice.map_err(Into::into).and_then(|slice| describe(Arc::new(slice)));
            let (kind, label) = found.unwrap_or_else(|_| (partition.kind.to_string(), None));
            PartContent {
                number: partition.number,
                size: partition.range.end - partition.range.start,
                kind,
                label: label
                    .or_else(|| (!partition.name.is_empty()).then(|| partition.name.clone())),
            }
        };
        Self {
            kind: scheme.to_owned(),
            label: None,
            partitions: table.partitions.iter().map(content).collect(),
        }
    }
}

/// A file system's kind and label.
fn describe(disk: Arc<dyn Disk>) -> Result<(String, Option<String>)> {
    let kind = fs::probe(&*disk)?.name().to_owned();
    let label = fs::open(disk, 0).ok().and_then(|volume| volume.label());
    Ok((kind, label.map(|it| printable(&it))))
}

/// In one line: `GPT: bootfs (FAT), rootfs (ext4)`.
impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        if let Some(label) = &self.label {
            write!(f, " `{label}`")?;
        }
        for (index, part) in self.partitions.iter().enumerate() {
            f.write_str(if index == 0 { ": " } else { ", " })?;
            match &part.label {
                Some(label) => write!(f, "{label} ({})", part.kind)?,
                None => f.write_str(&part.kind)?,
            }
        }
        Ok(())
    }
}
