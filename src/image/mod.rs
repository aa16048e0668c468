//! A disk image as one tree of files, mounted as its own fstab says.

mod architecture;
pub mod copy;
mod disk_id;
pub mod edit;
#[cfg(target_os = "linux")]
mod extract;
#[cfg(all(test, target_os = "linux"))]
mod extract_tests;
pub mod fsck;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod model_tests;
mod mount;
mod part;
mod read_only;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tree;
mod verify;

pub use architecture::Architecture;
#[cfg(target_os = "linux")]
pub use extract::{Extracted, SkippedNode, extract};
pub use fsck::FsckPolicy;
pub use mount::Skipped;
pub use part::Part;
pub use read_only::ReadOnly;

use std::sync::Arc;

use crate::disk::Disk;
use crate::fs::{Kind, Mount, Namespace, probe};
use crate::table::{self, PartitionTable};
use crate::util::error::{Context, Error, Result};

/// An opened image. As a [`crate::fs::Tree`] its paths cross mounts: `/boot/firmware/cmdline.txt`
/// is on FAT, `/etc/fstab` on ext4.
pub struct Image {
    disk: Arc<dyn Disk>,
    clock: i64,
    table: Option<PartitionTable>,
    parts: Vec<Part>,
    root: usize,
    skipped: Vec<Skipped>,
    namespace: Namespace,
}

impl Image {
    /// Opens an image, for writing when its disk can be written.
    ///
    /// The root file system is the partition with a root's type GUID, else the one labelled
    /// `rootfs`, else the one that holds `/etc/os-release` and `/etc/fstab`. The others are
    /// mounted where its fstab says. `clock`, in seconds since 1970, becomes the time of everything
    /// that is changed.
    pub fn open(disk: Arc<dyn Disk>, clock: i64) -> Result<Self> {
        let (table, mut parts) = survey(&disk)?;
        let mounted = mount::mount(&disk, clock, &mut parts)?;
        let mount::Mounted { namespace, root, skipped } = mounted;
        Ok(Self { disk, clock, table, parts, root, skipped, namespace })
    }

    /// Opens the file system of one partition, by its number, as a tree of its own: nothing else is
    /// mounted in it. `clock` is as in [`Image::open`].
    pub fn open_partition(disk: Arc<dyn Disk>, clock: i64, number: u32) -> Result<Self> {
        let (table, mut parts) = survey(&disk)?;
        let (namespace, root) = mount::mount_alone(&disk, clock, &mut parts, number)?;
        Ok(Self { disk, clock, table, parts, root, skipped: Vec::new(), namespace })
    }

    /// The disk it was opened on.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The partition table; `None` when the whole disk is one file system.
    pub fn table(&self) -> Option<&PartitionTable> {
        self.table.as_ref()
    }

    /// Every partition and what is in it, by number; the whole disk when it has no table.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The part with the root file system.
    pub fn root(&self) -> &Part {
        &self.parts[self.root]
    }

    /// What is mounted where, the root first.
    pub fn mounts(&self) -> &[Mount] {
        self.namespace.mount_table()
    }

    /// Lines of the fstab that name a part of this disk but could not be mounted, and why.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }
}

/// The partition table, and what is in each partition: all that is known of a disk without a root
/// file system.
pub fn survey(disk: &Arc<dyn Disk>) -> Result<(Option<PartitionTable>, Vec<Part>)> {
    let table = read_table(&**disk)?;
    let parts = find_parts(disk, table.as_ref())?;
    Ok((table, parts))
}

/// The partition table. A FAT boot sector ends in the same two bytes as an MBR: it is told first.
fn read_table(disk: &dyn Disk) -> Result<Option<PartitionTable>> {
    if probe(disk)? == Kind::Fat {
        return Ok(None);
    }
    table::read(disk)
}

fn find_parts(disk: &Arc<dyn Disk>, table: Option<&PartitionTable>) -> Result<Vec<Part>> {
    let Some(table) = table else {
        let range = 0..disk.size();
        let kind = probe(disk)?;
        return Ok(vec![Part { partition: None, range, kind, mount_point: None }]);
    };
    let mut parts = Vec::with_capacity(table.partitions.len());
    for partition in &table.partitions {
        let range = partition.range.clone();
        let partition = Some(partition.clone());
        let mut part = Part { partition, range, kind: Kind::Unknown, mount_point: None };
        part.kind = probe(&*part.disk(disk)?).context(|| part.name())?;
        parts.push(part);
    }
    if parts.is_empty() {
        return Err(Error::input("the partition table is empty"));
    }
    Ok(parts)
}
