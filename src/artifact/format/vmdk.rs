//! `.vmdk`: whole disks, and children that hold what differs from their parent.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use sha2::Digest as _;

use super::definition::{ArtifactFormat, NodeArtifact, NodeWriter, Reading, WholeImage};
use crate::artifact::batch::{Batch, NodeDisk};
use crate::artifact::prepared::PreparedBase;
use crate::config::Vm;
use crate::disk::sha256_of_disk;
use crate::disk::vmdk::{self, ContentId, Parent, VmdkSpec};
use crate::disk::{Clusters, Delta, Disk, Occupied};
use crate::util::error::Result;
use crate::util::sha256::Sha256;

pub(super) static FORMAT: ArtifactFormat = ArtifactFormat {
    name: "vmdk",
    variants: &[],
    node: Some(NodeArtifact { ending: ".vmdk", writer: NodeWriter::Each(write_node) }),
    shared: None,
    disk_in_bundle: None,
    reading: Reading::Random(2),
    runs_in_place: false,
    has_bmap: false,
    whole: Some(WholeImage { endings: &[".vmdk"], write: write_whole }),
    options: |cluster, _| format!("{}", cluster.vm.hardware_version),
};

/// One node's whole disk, which needs no other file.
fn write_node(path: &Path, batch: &Batch<'_>, node: &NodeDisk<'_>) -> Result<Option<Sha256>> {
    let content_id = child_id(base_id(batch.prepared), node.delta);
    write_standalone(path, batch, content_id, node.delta)?;
    Ok(None)
}

/// Any disk, which needs no cluster.
fn write_whole(file: &File, name: &str, disk: &dyn Disk) -> Result<()> {
    let hash = sha256_of_disk(disk)?;
    let image = VmdkSpec {
        size: disk.size(),
        content_id: content_id(hash.bytes()),
        parent: None,
        file_name: name,
        hardware_version: Vm::default().hardware_version,
    };
    let mut out = BufWriter::with_capacity(1 << 20, file);
    vmdk::write(&mut out, &image, &Occupied::find(disk)?)?;
    out.flush()?;
    Ok(())
}

/// The disk that a template and its clones share. Read-only: once it changes, every child is lost.
pub(super) fn write_base(path: &Path, batch: &Batch<'_>) -> Result<()> {
    write_standalone(path, batch, base_id(batch.prepared), &Delta::new())?;
    let mut permissions = std::fs::metadata(path)?.permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(path, permissions)?;
    Ok(())
}

/// A child of the shared disk, which is found at `hint` from the child's own folder.
pub(super) fn write_child(path: &Path, batch: &Batch<'_>, hint: &str, delta: &Delta) -> Result<()> {
    let base = base_id(batch.prepared);
    let parent = Parent { cid: base.short(), hint };
    write_disk(path, batch, child_id(base, delta), Some(parent), delta)
}

/// The template's whole disk, packed for an OVA.
pub(super) fn write_packed(file: &File, name: &str, batch: &Batch<'_>) -> Result<()> {
    let prepared = batch.prepared;
    let disk = prepared.with(batch.template.delta);
    let image = VmdkSpec {
        size: prepared.disk.size(),
        content_id: child_id(base_id(prepared), batch.template.delta),
        parent: None,
        file_name: name,
        hardware_version: batch.cluster.vm.hardware_version,
    };
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let occupied = Occupied::known(&disk, prepared.occupied_with(batch.template.delta)?);
    vmdk::write_stream(&mut out, &image, &occupied)?;
    out.flush()?;
    Ok(())
}

fn write_standalone(
    path: &Path,
    batch: &Batch<'_>,
    content_id: ContentId,
    delta: &Delta,
) -> Result<()> {
    let disk = batch.prepared.with(delta);
    let occupied = Occupied::known(&disk, batch.prepared.occupied_with(delta)?);
    write_disk(path, batch, content_id, None, &occupied)
}

fn write_disk(
    path: &Path,
    batch: &Batch<'_>,
    content_id: ContentId,
    parent: Option<Parent<'_>>,
    clusters: &impl Clusters,
) -> Result<()> {
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    let image = VmdkSpec {
        size: batch.prepared.disk.size(),
        content_id,
        parent,
        file_name: &file_name,
        hardware_version: batch.cluster.vm.hardware_version,
    };
    let mut out = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
    vmdk::write(&mut out, &image, clusters)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(())
}

/// Equal content, equal id: what makes builds chain equally.
fn base_id(prepared: &PreparedBase) -> ContentId {
    content_id(Sha256::of(prepared.image.about.sha256.to_string()).bytes())
}

fn child_id(parent: ContentId, delta: &Delta) -> ContentId {
    let mut hasher = sha2::Sha256::new();
    hasher.update(parent.short().to_be_bytes());
    for (index, cluster) in delta {
        hasher.update(index.to_be_bytes());
        hasher.update(cluster);
    }
    content_id(hasher.finalize().as_slice())
}

fn content_id(digest: &[u8]) -> ContentId {
    ContentId::from_hash(digest[..16].try_into().expect("a SHA-256 has 32 bytes"))
}
