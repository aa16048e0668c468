//! The disk of a prepared base: its base's, grown.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::mkfs::Place;
use super::{Sandbox, grow};
use crate::disk::{Disk, Raw, Slice, copy_sparse};
use crate::error::{Context, Error, Result};
use crate::interrupt;
use crate::table::{self, Partition, PartitionTable, PartitionType, guid};

/// How much is copied at once, in bytes.
const CHUNK: u64 = 1 << 20;

/// Makes a copy of `base` at `disk`, grown to `size` bytes where that is given, and its root
/// partition with it. For [`Sandbox::Userns`] the root partition is left empty.
pub(super) fn lay_out(
    base: &Path,
    disk: &Path,
    size: Option<u64>,
    sandbox: Sandbox,
) -> Result<Place> {
    let from = Raw::open(base)?;
    let table = table::read(&from)?.ok_or_else(|| {
        Error::input(format!("`{}` has no partition table", base.display()))
            .hint("a base is the image of a whole disk")
    })?;
    let root = root_partition(&table)
        .ok_or_else(|| Error::input(format!("`{}` has no Linux partition", base.display())))?;
    let size = size.unwrap_or(from.size());
    if size < from.size() {
        return Err(Error::input(format!(
            "the disk is to have {} MiB, but the base has {} MiB already",
            size >> 20,
            from.size().div_ceil(1 << 20)
        ))
        .hint("raise `size` in [disk]"));
    }
    let to = Arc::new(Raw::create(disk, size)?);
    // The root goes its own way: it may have to grow, and in a user namespace it is made anew.
    copy(&from, &to, 0..root.range.start)?;
    copy(&from, &to, root.range.end..from.size())?;
    let range = if size > from.size() {
        table::grow_last(&to, root.number).context(|| "growing the root partition")?
    } else {
        root.range.clone()
    };
    if sandbox == Sandbox::Loop {
        let from = Slice::new(Arc::new(from), root.range.clone())?;
        let to = Slice::new(to, range.clone())?;
        if to.size() > from.size() {
            let folder = disk.parent().unwrap_or(Path::new("."));
            grow::copy_grown(&from, &to, folder)?;
        } else {
            copy_sparse(&from, &to)?;
        }
    }
    Ok(Place { disk: disk.to_owned(), offset: range.start, size: range.end - range.start })
}

/// The partition that says it is a root, else the last one for Linux.
fn root_partition(table: &PartitionTable) -> Option<&Partition> {
    let is_linux = |it: &&Partition| {
        matches!(it.kind, PartitionType::Guid(guid::LINUX) | PartitionType::Byte(0x83))
    };
    let last_linux = || table.partitions.iter().filter(is_linux).max_by_key(|it| it.range.end);
    table.partitions.iter().find(|it| it.kind.is_root()).or_else(last_linux)
}

/// Copies a part of a disk to the same place of another; holes stay holes.
fn copy(from: &dyn Disk, to: &dyn Disk, range: Range<u64>) -> Result<()> {
    let mut buffer = vec![0; usize::try_from(CHUNK).expect("1 MiB")];
    let mut copy = || -> Result<()> {
        let mut at = range.start;
        while let Some(run) = from.next_data(at)?.filter(|run| run.start < range.end) {
            at = run.start;
            while at < run.end.min(range.end) {
                interrupt::check()?;
                let length = CHUNK.min(run.end.min(range.end) - at);
                let part = &mut buffer[..usize::try_from(length).expect("at most 1 MiB")];
                from.read_at(part, at)?;
                to.write_at(part, at)?;
                at += length;
            }
        }
        Ok(())
    };
    copy().context(|| "copying the base")
}
