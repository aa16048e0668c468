//! Copying disks to files, without the zeros.

use std::io;
use std::ops::Range;

use super::Disk;
use super::cluster::{CLUSTER, cluster_buffer};
use super::clusters::is_zero;
use super::raw::Raw;
use crate::util::error::Result;
use crate::util::room::{self, FolderUse};

/// Bytes read and written at once.
const CHUNK: u64 = 16 * CLUSTER;

/// Copies a disk to one that reads as zeros and is at least as long.
/// Only clusters that hold anything but zeros are written.
pub fn copy_sparse(from: &dyn Disk, to: &dyn Disk) -> io::Result<()> {
    let mut buffer = cluster_buffer().repeat(16);
    let mut at = 0;
    while let Some(run) = from.next_data(at)? {
        for chunk in chunks(&run) {
            let length = usize::try_from(chunk.end - chunk.start).map_err(io::Error::other)?;
            from.read_at(&mut buffer[..length], chunk.start)?;
            write_occupied(to, &buffer[..length], chunk.start)?;
        }
        at = run.end;
    }
    Ok(())
}

/// Copies a raw image to one just made that is at least as long. Where the file
/// system can, the two share their blocks until one is written; else the data is copied, and
/// holes stay holes.
/// Fails at once where there is no room for that.
pub fn copy_file(from: &Raw, to: &Raw, place: FolderUse) -> Result<()> {
    if clone_file(from, to) {
        return Ok(());
    }
    require_room(from, to, place)?;
    Ok(copy_sparse(from, to)?)
}

/// Fails when the file system of a file has no room for what another disk has data of.
pub(super) fn require_room(from: &dyn Disk, to: &Raw, place: FolderUse) -> Result<()> {
    let (mut needed, mut at) = (0, 0);
    while let Some(run) = from.next_data(at)? {
        needed += run.end - run.start;
        at = run.end;
    }
    match to.location().as_ref().and_then(|(path, _)| path.parent()) {
        Some(folder) => room::require(folder, place, needed),
        None => Ok(()),
    }
}

/// Whether the file system made `to` a clone of `from`; if not, `to` is as it was.
#[cfg(target_os = "linux")]
pub(super) fn clone_file(from: &Raw, to: &Raw) -> bool {
    let length = to.size();
    rustix::fs::ioctl_ficlone(to.file(), from.file()).is_ok()
        // A clone is as long as its original.
        && (from.size() >= length || to.file().set_len(length).is_ok())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn clone_file(_from: &Raw, _to: &Raw) -> bool {
    false
}

/// Cuts a run at multiples of `CHUNK`, so that pieces are whole clusters.
fn chunks(run: &Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let (mut start, end) = (run.start, run.end);
    std::iter::from_fn(move || {
        let stop = ((start / CHUNK + 1) * CHUNK).min(end);
        let chunk = start..stop;
        start = stop;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// Writes the clusters of `data` that are not zeros, neighbours together.
fn write_occupied(to: &dyn Disk, data: &[u8], offset: u64) -> io::Result<()> {
    let clusters = data.chunks(cluster_buffer().len());
    let mut pending: Option<Range<usize>> = None;
    let mut start = 0;
    for cluster in clusters {
        let end = start + cluster.len();
        if is_zero(cluster) {
            write_pending(to, data, offset, pending.take())?;
        } else {
            pending = Some(pending.map_or(start, |range| range.start)..end);
        }
        start = end;
    }
    write_pending(to, data, offset, pending)
}

fn write_pending(
    to: &dyn Disk,
    data: &[u8],
    offset: u64,
    pending: Option<Range<usize>>,
) -> io::Result<()> {
    pending.map_or(Ok(()), |range| to.write_at(&data[range.clone()], offset + range.start as u64))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::disk::testing::{Memory, contents};

    #[test]
    fn zeros_are_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = vec![0; (9 << 20) + 512];
        bytes[70_000..70_010].fill(1);
        bytes[3 << 20..(4 << 20) + 5].fill(2);
        let end = bytes.len();
        bytes[end - 1] = 3;
        let memory = Memory::new(bytes.clone());
        let one = Raw::create(&folder.path().join("one"), memory.size()).unwrap();
        copy_sparse(&memory, &one).unwrap();
        assert!(contents(&one) == bytes);
        // One cluster, 17 clusters, and the last sector.
        assert!(one.file().metadata().unwrap().blocks() * 512 <= 19 << 16);

        let two = Raw::create(&folder.path().join("two"), memory.size() + 4096).unwrap();
        copy_file(&one, &two, FolderUse::Output).unwrap();
        bytes.resize(bytes.len() + 4096, 0);
        assert!(contents(&two) == bytes);
        assert!(two.file().metadata().unwrap().blocks() * 512 <= 19 << 16);
    }
}
