//! Copy-on-write into a file: for changes of any size, and for those that must outlive the process.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use super::cluster::{CLUSTER, cluster_buffer, read_cluster};
use super::overlay::clusters;
use super::{Disk, check_bounds};

/// A writable disk over a base that is never written. Changed clusters lie in a sparse file, where
/// they would lie on the disk: memory holds their numbers alone.
pub struct Shadow {
    base: Arc<dyn Disk>,
    file: File,
    changed: RwLock<BTreeSet<u64>>,
}

impl Shadow {
    /// Nothing has been written yet; `file` must be empty.
    pub fn new(base: Arc<dyn Disk>, file: File) -> io::Result<Self> {
        // A cluster at the disk's end is read whole.
        file.set_len(base.size().next_multiple_of(CLUSTER))?;
        Ok(Self::with_changes(base, file, BTreeSet::new()))
    }

    /// Continues with the clusters `changed` of `file`.
    pub fn with_changes(base: Arc<dyn Disk>, file: File, changed: BTreeSet<u64>) -> Self {
        Self { base, file, changed: RwLock::new(changed) }
    }

    /// The base below.
    pub fn base(&self) -> &Arc<dyn Disk> {
        &self.base
    }

    /// The file with the changed clusters.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The clusters that really differ from the base, in rising order.
    pub fn differing(&self) -> io::Result<Vec<u64>> {
        let (mut old, mut new) = (cluster_buffer(), cluster_buffer());
        let mut differing = Vec::new();
        for &index in self.changed.read().expect("no writer panicked").iter() {
            read_cluster(&*self.base, index, &mut old)?;
            self.file.read_exact_at(&mut new, index * CLUSTER)?;
            if old != new {
                differing.push(index);
            }
        }
        Ok(differing)
    }
}

impl Disk for Shadow {
    fn size(&self) -> u64 {
        self.base.size()
    }

    fn sector_size(&self) -> u32 {
        self.base.sector_size()
    }

    /// The base's: what is wrong before anything was changed is wrong there.
    fn location(&self) -> Option<(PathBuf, u64)> {
        self.base.location()
    }

    fn is_writable(&self) -> bool {
        true
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        check_bounds(self.size(), offset, buffer.len())?;
        let changed = self.changed.read().expect("no writer panicked");
        let mut done = 0;
        for (index, _, take) in clusters(offset, buffer.len()) {
            let part = &mut buffer[done..done + take];
            let at = offset + done as u64;
            if changed.contains(&index) {
                self.file.read_exact_at(part, at)?;
            } else {
                self.base.read_at(part, at)?;
            }
            done += take;
        }
        Ok(())
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        check_bounds(self.size(), offset, data.len())?;
        let mut changed = self.changed.write().expect("no writer panicked");
        for (index, _, take) in clusters(offset, data.len()) {
            if take as u64 != CLUSTER && !changed.contains(&index) {
                let mut cluster = cluster_buffer();
                read_cluster(&*self.base, index, &mut cluster)?;
                self.file.write_all_at(&cluster, index * CLUSTER)?;
            }
        }
        self.file.write_all_at(data, offset)?;
        changed.extend(clusters(offset, data.len()).map(|(index, ..)| index));
        Ok(())
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let below = self.base.next_data(from)?;
        let changed = self.changed.read().expect("no writer panicked");
        let above = changed.range(from / CLUSTER..).next().map(|index| {
            let start = index * CLUSTER;
            start.max(from)..(start + CLUSTER).min(self.size())
        });
        Ok(match (below, above) {
            (Some(below), Some(above)) if above.start < below.start => Some(above),
            (below, above) => below.or(above),
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::disk::testing::{Memory, contents};

    proptest! {
        /// It reads as memory would that was written likewise, and its base stays as it was.
        #[test]
        fn it_is_a_disk_of_its_own(
            writes in prop::collection::vec((0_usize..200_000, 1_usize..140_000, 1_u8..), 1..8)
        ) {
            let original: Vec<u8> = (0..200_000_u32).map(|at| at.to_le_bytes()[1]).collect();
            let base: Arc<dyn Disk> = Arc::new(Memory::new(original.clone()));
            let shadow = Shadow::new(Arc::clone(&base), tempfile::tempfile().unwrap()).unwrap();
            let mut model = original.clone();
            for (at, length, byte) in writes {
                let length = length.min(model.len() - at);
                model[at..at + length].fill(byte);
                shadow.write_at(&vec![byte; length], at as u64).unwrap();
            }
            prop_assert!(contents(&shadow) == model);
            prop_assert!(contents(&*base) == original);
            let differing: Vec<u64> = (0..4)
                .filter(|index| {
                    let range = index * 65536..((index + 1) * 65536).min(200_000);
                    model[range.clone()] != original[range]
                })
                .map(|index| index as u64)
                .collect();
            prop_assert_eq!(shadow.differing().unwrap(), differing);
        }
    }
}
