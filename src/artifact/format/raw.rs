//! `.img`: the base copied sparsely, the delta written over it.

use std::fs::File;
use std::path::Path;
use std::thread;

use super::definition::{ArtifactFormat, NodeArtifact, NodeWriter, Reading, WholeImage};
use crate::artifact::batch::{Batch, NodeDisk};
use crate::artifact::prepared::PreparedBase;
use crate::disk::sha256_of_disk;
use crate::disk::{CLUSTER, Delta, Disk, Raw, copy_sparse};
use crate::util::error::{Context as _, Result};
use crate::util::room::FolderUse;
use crate::util::sha256::Sha256;

pub(super) static FORMAT: ArtifactFormat = ArtifactFormat {
    name: "raw",
    variants: &[],
    node: Some(NodeArtifact { ending: ".img", writer: NodeWriter::Each(write) }),
    shared: None,
    disk_in_bundle: None,
    reading: Reading::Random(0),
    runs_in_place: false,
    has_bmap: true,
    whole: Some(WholeImage { endings: &[".img", ".raw"], write: write_whole }),
    options: |_, _| String::new(),
};

/// Returns the SHA-256 of what is written, in hexadecimal digits. Hashing takes longer than all else:
/// it goes on meanwhile, and on the base, whose bytes are in memory when many nodes are made of it.
fn write(path: &Path, batch: &Batch<'_>, node: &NodeDisk<'_>) -> Result<Option<Sha256>> {
    let (prepared, delta) = (batch.prepared, node.delta);
    thread::scope(|scope| {
        let sum = scope.spawn(|| sha256_of_disk(&prepared.with(delta)));
        copy(path, prepared, delta)?;
        sum.join().expect("hashing does not panic").map(Some)
    })
}

fn write_whole(file: &File, _name: &str, disk: &dyn Disk) -> Result<()> {
    file.set_len(disk.size())?;
    let raw = Raw::from_file(file.try_clone()?, true)?;
    copy_sparse(disk, &raw)?;
    Ok(())
}

fn copy(path: &Path, prepared: &PreparedBase, delta: &Delta) -> Result<()> {
    let size = prepared.disk.size();
    let image = Raw::create(path, size)?;
    let copied = prepared.image.copy_to(&image, FolderUse::Output);
    copied.context(|| format!("copying `{}`", prepared.image.path.display()))?;
    for (index, cluster) in delta {
        let start = index * CLUSTER;
        let inside = usize::try_from(CLUSTER.min(size - start)).expect("at most a cluster");
        image.write_at(&cluster[..inside], start)?;
    }
    image.sync()?;
    Ok(())
}
