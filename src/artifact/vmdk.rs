//! `.vmdk`: whole disks, and children that hold what differs from their parent.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::Emission;
use super::prepared::PreparedBase;
use crate::disk::vmdk::{self, ContentId, Image, Parent};
use crate::disk::{Clusters, Delta, Disk as _, Occupied};
use crate::util::error::Result;

/// One node's whole disk, which needs no other file.
pub(super) fn write(path: &Path, emission: &Emission<'_>, delta: &Delta) -> Result<()> {
    let content_id = child_id(base_id(emission.prepared), delta);
    write_whole(path, emission, content_id, delta)
}

/// The disk that a template and its clones share. Read-only: once it changes, every child is lost.
pub(super) fn write_base(path: &Path, emission: &Emission<'_>) -> Result<()> {
    write_whole(path, emission, base_id(emission.prepared), &Delta::new())?;
    let mut permissions = std::fs::metadata(path)?.permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(path, permissions)?;
    Ok(())
}

/// A child of the shared disk, which is found at `hint` from the child's own folder.
pub(super) fn write_child(
    path: &Path,
    emission: &Emission<'_>,
    hint: &str,
    delta: &Delta,
) -> Result<()> {
    let base = base_id(emission.prepared);
    let parent = Parent { cid: base.short(), hint };
    write_disk(path, emission, child_id(base, delta), Some(parent), delta)
}

/// The template's whole disk, packed for an OVA.
pub(super) fn write_packed(file: &File, name: &str, emission: &Emission<'_>) -> Result<()> {
    let prepared = emission.prepared;
    let disk = prepared.with(emission.template);
    let image = Image {
        size: prepared.disk.size(),
        content_id: child_id(base_id(prepared), emission.template),
        parent: None,
        file_name: name,
        hardware_version: emission.cluster.vm.hardware_version,
    };
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let occupied = Occupied::known(&disk, prepared.occupied_with(emission.template)?);
    vmdk::write_stream(&mut out, &image, &occupied)?;
    out.flush()?;
    Ok(())
}

fn write_whole(
    path: &Path,
    emission: &Emission<'_>,
    content_id: ContentId,
    delta: &Delta,
) -> Result<()> {
    let disk = emission.prepared.with(delta);
    let occupied = Occupied::known(&disk, emission.prepared.occupied_with(delta)?);
    write_disk(path, emission, content_id, None, &occupied)
}

fn write_disk(
    path: &Path,
    emission: &Emission<'_>,
    content_id: ContentId,
    parent: Option<Parent<'_>>,
    clusters: &impl Clusters,
) -> Result<()> {
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    let image = Image {
        size: emission.prepared.disk.size(),
        content_id,
        parent,
        file_name: &file_name,
        hardware_version: emission.cluster.vm.hardware_version,
    };
    let mut out = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
    vmdk::write(&mut out, &image, clusters)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(())
}

/// Equal content, equal id: what makes builds chain equally.
fn base_id(prepared: &PreparedBase) -> ContentId {
    content_id(Sha256::digest(prepared.image.about.sha256.to_string()).as_slice())
}

fn child_id(parent: ContentId, delta: &Delta) -> ContentId {
    let mut hasher = Sha256::new();
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
