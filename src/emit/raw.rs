//! `.img`: the base copied sparsely, the delta written over it.

use std::path::Path;

use super::PreparedBase;
use crate::disk::{self, CLUSTER, Delta, Disk, Raw};
use crate::error::Result;

pub(super) fn write(path: &Path, prepared: &PreparedBase, delta: &Delta) -> Result<()> {
    let size = prepared.disk.size();
    let image = Raw::create(path, size)?;
    disk::copy_file(&prepared.path, &image)?;
    for (index, cluster) in delta {
        let start = index * CLUSTER;
        let inside = usize::try_from(CLUSTER.min(size - start)).expect("at most a cluster");
        image.write_at(&cluster[..inside], start)?;
    }
    image.sync()?;
    Ok(())
}
