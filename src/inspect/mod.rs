//! Facts about an image: its partitions, the system on it, and what nodeforge made of that.

mod build;
pub mod diff;
mod map;
mod node;
mod packages;
mod partitions;
pub mod sbom;
mod system;

pub use build::BuildFacts;
pub use map::{Segment, draw};
pub use node::NodeFacts;
pub use packages::{PackageList, packages};
pub use partitions::{PartitionFacts, TableFacts};
pub use system::System;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::disk::{self, Disk};
use crate::image::{Image, ReadOnly, edit, survey};
use crate::util::error::Result;

/// All that `nodeforge inspect` tells. Sizes are in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The image, as it was named.
    pub image: String,
    /// `raw`, `qcow2`, `vmdk`, `xz`, `zst`, `gz` or `device`.
    pub format: &'static str,
    /// The disk's size, whatever its file's is.
    pub size: u64,
    /// `None` when the whole disk is one file system.
    pub partition_table: Option<TableFacts>,
    /// By number.
    pub partitions: Vec<PartitionFacts>,
    /// `None` when no root file system is readable here.
    pub system: Option<System>,
    /// `None` when nodeforge has put nothing into the image.
    pub nodeforge: Option<NodeFacts>,
    /// `None` when no manifest beside the image lists it.
    pub build: Option<BuildFacts>,
    /// What is odd about it.
    pub notes: Vec<String>,
}

impl Report {
    /// Looks at an image of any format. `backing` is as in [`disk::open_over`].
    pub fn of(path: &Path, backing: &[PathBuf]) -> Result<Self> {
        let disk: Arc<dyn Disk> = Arc::new(ReadOnly(edit::open_to_read(path, backing)?));
        let mut notes = Vec::new();
        let (table, parts, image) = match Image::open(Arc::clone(&disk), 0) {
            Ok(image) => (image.table().cloned(), image.parts().to_vec(), Some(image)),
            Err(error) => {
                let (table, parts) = survey(&disk)?;
                notes.push(error.to_string());
                (table, parts, None)
            }
        };
        if let Some(image) = &image {
            notes.extend(image.skipped().iter().map(|skipped| {
                format!(
                    "`{}` is not mounted: {} is meant, and {}",
                    skipped.point.display(),
                    skipped.part,
                    skipped.reason
                )
            }));
        }
        if let Some(table) = &table {
            notes.extend(partitions::oddities(table));
        }
        let system = image.as_ref().map(System::of).transpose()?;
        let hostname = system.as_ref().and_then(|system| system.hostname.as_deref());
        let nodeforge = match &image {
            Some(image) => NodeFacts::of(image, hostname)?,
            None => None,
        };
        Ok(Self {
            image: path.display().to_string(),
            format: disk::probe(path)?.name(),
            size: disk.size(),
            partition_table: table.as_ref().map(TableFacts::of),
            partitions: parts.iter().map(|part| PartitionFacts::of(&disk, part)).collect(),
            system,
            nodeforge,
            build: BuildFacts::of(path),
            notes,
        })
    }
}
