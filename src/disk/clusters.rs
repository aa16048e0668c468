//! What the image writers write: a sorted set of clusters, and their bytes when their turn comes.

use std::io;

use super::Disk;
use super::cluster::{CLUSTER, Delta, cluster_buffer, read_cluster};

/// The clusters of an image. A writer first lays out its tables from the indexes, then asks for
/// the bytes in the same order: nothing needs to be in memory but one cluster.
pub trait Clusters {
    /// Indexes in rising order, each once. Cluster `i` starts at byte `i * CLUSTER`.
    fn indexes(&self) -> Box<dyn Iterator<Item = u64> + '_>;

    /// Fills `buffer`, which is `CLUSTER` bytes; past the end of the disk come zeros.
    fn read(&self, index: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl Clusters for Delta {
    fn indexes(&self) -> Box<dyn Iterator<Item = u64> + '_> {
        Box::new(self.keys().copied())
    }

    fn read(&self, index: u64, buffer: &mut [u8]) -> io::Result<()> {
        let cluster = self.get(&index).ok_or(io::ErrorKind::NotFound)?;
        buffer.copy_from_slice(cluster);
        Ok(())
    }
}

/// The clusters of a disk that hold anything but zeros.
///
/// Which these are depends on the disk's bytes alone, not on where its file has holes:
/// the same disk gives the same image wherever it is stored.
pub struct Occupied<'a> {
    disk: &'a dyn Disk,
    indexes: Vec<u64>,
}

impl<'a> Occupied<'a> {
    /// Reads all data of the disk once to find them; keeps 8 bytes a cluster.
    pub fn find(disk: &'a dyn Disk) -> io::Result<Self> {
        let mut indexes = Vec::new();
        let mut buffer = cluster_buffer();
        let mut next = 0;
        while let Some(run) = disk.next_data(next * CLUSTER)? {
            for index in run.start / CLUSTER..run.end.div_ceil(CLUSTER) {
                read_cluster(disk, index, &mut buffer)?;
                if !is_zero(&buffer) {
                    indexes.push(index);
                }
            }
            next = run.end.div_ceil(CLUSTER);
        }
        Ok(Self { disk, indexes })
    }

    /// Those of a disk that are already known.
    pub fn known(disk: &'a dyn Disk, indexes: Vec<u64>) -> Self {
        Self { disk, indexes }
    }

    /// Those of a disk that is a delta over a base which has these.
    pub fn indexes_over(base: &[u64], delta: &Delta) -> Vec<u64> {
        let left = base.iter().copied().filter(|index| !delta.contains_key(index));
        let own = delta.iter().filter(|(_, cluster)| !is_zero(cluster)).map(|(index, _)| *index);
        let mut indexes: Vec<u64> = left.chain(own).collect();
        indexes.sort_unstable();
        indexes
    }

    /// Without the disk.
    pub fn into_indexes(self) -> Vec<u64> {
        self.indexes
    }
}

impl Clusters for Occupied<'_> {
    fn indexes(&self) -> Box<dyn Iterator<Item = u64> + '_> {
        Box::new(self.indexes.iter().copied())
    }

    fn read(&self, index: u64, buffer: &mut [u8]) -> io::Result<()> {
        read_cluster(self.disk, index, buffer)
    }
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // Compared as 16-byte words: the compiler turns this into vector instructions.
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

/// Checks what every writer relies on: rising indexes that lie inside a disk of `size` bytes.
/// Returns how many there are.
pub(super) fn count(clusters: &dyn Clusters, size: u64) -> io::Result<u64> {
    let mut count = 0;
    let mut least = 0;
    for index in clusters.indexes() {
        if index < least || index >= size.div_ceil(CLUSTER) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a cluster is out of order or past the end of the disk",
            ));
        }
        least = index + 1;
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::overlay::Overlay;
    use crate::disk::testing::Memory;

    #[test]
    fn what_is_known_of_the_base_need_not_be_looked_for() {
        let mut bytes = vec![0; 400_000];
        bytes[70_000] = 1;
        bytes[140_000] = 2;
        bytes[399_999] = 3;
        let base = Arc::new(Memory::new(bytes));
        let indexes = Occupied::find(&*base).unwrap().into_indexes();
        let overlay = Overlay::new(base.clone());
        overlay.write_at(&[0; 2], 140_000).unwrap();
        overlay.write_at(&[7], 270_000).unwrap();
        let delta = overlay.into_delta().unwrap();
        let overlay = Overlay::with_delta(base, delta.clone());
        let found = Occupied::find(&overlay).unwrap().into_indexes();
        assert_eq!(found, [1, 4, 6]);
        assert_eq!(Occupied::indexes_over(&indexes, &delta), found);
    }
}
