//! A part of a disk that can hold a file system.

use std::ops::Range;
use std::sync::Arc;

use crate::disk::{Disk, Slice};
use crate::fs::Kind;
use crate::table::Partition;
use crate::util::error::{Context, Result};

/// A part of the disk that can hold a file system: a partition, or all of a disk without a table.
#[derive(Clone, Debug)]
pub struct Part {
    /// The partition; `None` for a disk without a table.
    pub partition: Option<Partition>,
    /// Bytes of the disk.
    pub range: Range<u64>,
    /// What fills it.
    pub kind: Kind,
    /// Where it is mounted, if it is.
    pub mount_point: Option<std::path::PathBuf>,
}

impl Part {
    /// Its number; `None` for a disk without a table.
    pub fn number(&self) -> Option<u32> {
        self.partition.as_ref().map(|partition| partition.number)
    }

    /// As messages call it.
    pub(super) fn name(&self) -> String {
        match self.number() {
            Some(number) => format!("partition {number}"),
            None => "the disk".to_owned(),
        }
    }

    /// The bytes as a disk of their own.
    pub fn disk(&self, disk: &Arc<dyn Disk>) -> Result<Arc<dyn Disk>> {
        let slice = Slice::new(Arc::clone(disk), self.range.clone());
        Ok(Arc::new(slice.context(|| self.name())?))
    }
}
