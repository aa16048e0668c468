//! The prepared base, and what is computed from it once for all nodes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::compressed::BlockCache;
use crate::cache::CachedImage;
use crate::config::Arch;
use crate::disk::{CLUSTER, Delta, Disk, Occupied, Overlay};
use crate::util::error::Result;

/// The prepared base, as artifacts are made from it.
pub struct PreparedBase {
    /// A raw image.
    pub image: CachedImage,
    /// Its bytes.
    pub disk: Arc<dyn Disk>,
    /// What its programs run on.
    pub arch: Arch,
    /// Its clusters that hold anything but zeros, once they were looked for.
    occupied: Mutex<Option<Arc<[u64]>>>,
    /// SHA-256 of ranges of its bytes.
    sums: Mutex<BTreeMap<(u64, u64), String>>,
    /// Its pieces, packed.
    pub(super) blocks: BlockCache,
}

impl PreparedBase {
    /// An image whose programs run on `arch`.
    pub fn new(image: CachedImage, arch: Arch) -> Self {
        Self {
            disk: image.disk.clone(),
            image,
            arch,
            occupied: Mutex::default(),
            sums: Mutex::default(),
            blocks: BlockCache::default(),
        }
    }

    /// A node's disk.
    pub(super) fn with(&self, delta: &Delta) -> Overlay {
        Overlay::with_delta(Arc::clone(&self.disk), delta.clone())
    }

    /// The clusters of a node's disk that hold anything but zeros. Only for the first node is the base
    /// read to find them.
    pub(super) fn occupied_with(&self, delta: &Delta) -> Result<Vec<u64>> {
        // Other threads wait here, and do not look for them as well.
        let mut known = self.occupied.lock().expect("no thread panicked");
        let base = match &*known {
            Some(base) => Arc::clone(base),
            None => Arc::clone(known.insert(Occupied::find(&*self.disk)?.into_indexes().into())),
        };
        drop(known);
        Ok(Occupied::indexes_over(&base, delta))
    }

    /// SHA-256 of a range of a node's disk, which `sum` computes; only once where it is the base's.
    pub(super) fn sum_with(
        &self,
        delta: &Delta,
        range: &Range<u64>,
        sum: impl FnOnce() -> Result<String>,
    ) -> Result<String> {
        let clusters = range.start / CLUSTER..range.end.div_ceil(CLUSTER);
        if delta.range(clusters).next().is_some() {
            return sum();
        }
        if let Some(known) = self.image.about.windows.as_ref().and_then(|it| it.sum_of(range)) {
            return Ok(known);
        }
        let key = (range.start, range.end);
        let known = self.sums.lock().expect("no thread panicked").get(&key).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let sum = sum()?;
        self.sums.lock().expect("no thread panicked").insert(key, sum.clone());
        Ok(sum)
    }
}
