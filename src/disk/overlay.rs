//! Copy-on-write: a base that is only read, and the clusters that differ from it.

use std::collections::btree_map::Entry;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use super::cluster::{CLUSTER, Delta, cluster_buffer, read_cluster};
use super::{Disk, check_bounds};

/// A writable disk over a base that is never written.
pub struct Overlay {
    base: Arc<dyn Disk>,
    delta: RwLock<Delta>,
}

impl Overlay {
    /// An overlay in which nothing has been written yet.
    pub fn new(base: Arc<dyn Disk>) -> Self {
        Self::with_delta(base, Delta::new())
    }

    /// An overlay that begins with what an earlier one ended with.
    pub fn with_delta(base: Arc<dyn Disk>, delta: Delta) -> Self {
        Self { base, delta: RwLock::new(delta) }
    }

    /// The base below.
    pub fn base(&self) -> &Arc<dyn Disk> {
        &self.base
    }

    /// The clusters that really differ from the base: what was written back as it had been is not kept.
    pub fn into_delta(self) -> io::Result<Delta> {
        let mut delta = self.delta.into_inner().expect("no writer panicked");
        let mut original = cluster_buffer();
        let mut failure = None;
        delta.retain(|&index, bytes| match read_cluster(&*self.base, index, &mut original) {
            Ok(()) => **bytes != *original,
            Err(error) => {
                failure.get_or_insert(error);
                true
            }
        });
        failure.map_or(Ok(delta), Err)
    }
}

/// The part of `range` in each cluster it touches: index, offset in the cluster, length.
pub(super) fn clusters(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + length as u64;
    let mut at = offset;
    std::iter::from_fn(move || {
        (at < end).then(|| {
            let (index, within) = (at / CLUSTER, at % CLUSTER);
            let take = (CLUSTER - within).min(end - at);
            at += take;
            let narrow = |n: u64| usize::try_from(n).expect("at most one cluster");
            (index, narrow(within), narrow(take))
        })
    })
}

impl Disk for Overlay {
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
        let delta = self.delta.read().expect("no writer panicked");
        let mut done = 0;
        for (index, within, take) in clusters(offset, buffer.len()) {
            let part = &mut buffer[done..done + take];
            match delta.get(&index) {
                Some(cluster) => part.copy_from_slice(&cluster[within..within + take]),
                None => self.base.read_at(part, offset + done as u64)?,
            }
            done += take;
        }
        Ok(())
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        check_bounds(self.size(), offset, data.len())?;
        let mut delta = self.delta.write().expect("no writer panicked");
        let mut done = 0;
        for (index, within, take) in clusters(offset, data.len()) {
            let cluster = match delta.entry(index) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let mut cluster = cluster_buffer();
                    read_cluster(&*self.base, index, &mut cluster)?;
                    entry.insert(cluster.into_boxed_slice())
                }
            };
            cluster[within..within + take].copy_from_slice(&data[done..done + take]);
            done += take;
        }
        Ok(())
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        if from >= self.size() {
            return Ok(None);
        }
        let below = self.base.next_data(from)?;
        let delta = self.delta.read().expect("no writer panicked");
        let above = delta.range(from / CLUSTER..).next().map(|(&index, _)| {
            let start = index * CLUSTER;
            start.max(from)..(start + CLUSTER).min(self.size())
        });
        Ok(match (below, above) {
            (Some(below), Some(above)) => {
                if above.start < below.start {
                    Some(above)
                } else {
                    Some(below)
                }
            }
            (below, above) => below.or(above),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::disk::testing::{Memory, contents};

    /// Three and a bit clusters, the second of them zeros.
    fn base() -> Vec<u8> {
        let mut bytes = vec![5; 200_000];
        bytes[65_536..131_072].fill(0);
        bytes
    }

    #[test]
    fn what_was_written_back_is_no_difference() {
        let overlay = Overlay::new(Arc::new(Memory::new(base())));
        overlay.write_at(&[1; 10], 70_000).unwrap();
        overlay.write_at(&[0; 10], 70_000).unwrap();
        overlay.write_at(&vec![5; 70_000], 130_000).unwrap();
        let delta = overlay.into_delta().unwrap();
        assert_eq!(delta.keys().copied().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn the_last_cluster_is_padded() {
        let overlay = Overlay::new(Arc::new(Memory::new(base())));
        overlay.write_at(&[1], 199_999).unwrap();
        assert!(overlay.write_at(&[1; 2], 199_999).is_err());
        let delta = overlay.into_delta().unwrap();
        assert_eq!(delta[&3].len(), 65_536);
        assert_eq!(delta[&3][200_000 - 3 * 65_536 - 1..][..2], [1, 0]);
    }

    proptest! {
        #[test]
        fn it_reads_as_a_plain_disk_would(
            writes in prop::collection::vec((0..200_000_usize, 0..90_000_usize, any::<u8>()), 0..8),
            from in 0..210_000_u64,
        ) {
            let original = Arc::new(Memory::new(base()));
            let overlay = Overlay::new(Arc::clone(&original) as Arc<dyn Disk>);
            let mut model = base();
            for (start, length, byte) in writes {
                let end = (start + length).min(model.len());
                model[start..end].fill(byte);
                overlay.write_at(&vec![byte; end - start], start as u64).unwrap();
            }
            prop_assert!(contents(&overlay) == model);
            prop_assert!(original.bytes() == base());
            let delta = overlay.into_delta().unwrap();
            let overlay = Overlay::with_delta(original, delta);
            prop_assert!(contents(&overlay) == model);

            let mut at = from;
            while let Some(run) = overlay.next_data(at).unwrap() {
                prop_assert!(at <= run.start && run.start < run.end);
                prop_assert!(run.end <= overlay.size());
                let gap = usize::try_from(at).unwrap()..usize::try_from(run.start).unwrap();
                prop_assert!(model[gap].iter().all(|byte| *byte == 0));
                at = run.end;
            }
            let rest = usize::try_from(at).unwrap().min(model.len());
            prop_assert!(model[rest..].iter().all(|byte| *byte == 0));

            let mut applied = base();
            applied.resize(4 * 65_536, 0);
            for (index, cluster) in overlay.into_delta().unwrap() {
                let start = usize::try_from(index * CLUSTER).unwrap();
                applied[start..start + cluster.len()].copy_from_slice(&cluster);
            }
            prop_assert!(applied[..model.len()] == model);
        }
    }
}
