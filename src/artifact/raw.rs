//! `.img`: the base copied sparsely, the delta written over it.

use std::path::Path;
use std::thread;

use super::prepared::PreparedBase;
use crate::disk::sha256_of_disk;
use crate::disk::{self, CLUSTER, Delta, Disk, Raw};
use crate::util::error::{Context as _, Result};
use crate::util::sha256::Sha256;

/// Returns the SHA-256 of what is written, in hexadecimal digits. Hashing takes longer than all else:
/// it goes on meanwhile, and on the base, whose bytes are in memory when many nodes are made of it.
pub(super) fn write(path: &Path, prepared: &PreparedBase, delta: &Delta) -> Result<Sha256> {
    thread::scope(|scope| {
        let sum = scope.spawn(|| sha256_of_disk(&prepared.with(delta)));
        copy(path, prepared, delta)?;
        sum.join().expect("hashing does not panic")
    })
}

fn copy(path: &Path, prepared: &PreparedBase, delta: &Delta) -> Result<()> {
    let size = prepared.disk.size();
    let image = Raw::create(path, size)?;
    disk::copy_file(&prepared.image.disk, &image)
        .context(|| format!("copying `{}`", prepared.image.path.display()))?;
    for (index, cluster) in delta {
        let start = index * CLUSTER;
        let inside = usize::try_from(CLUSTER.min(size - start)).expect("at most a cluster");
        image.write_at(&cluster[..inside], start)?;
    }
    image.sync()?;
    Ok(())
}
