//! `.qcow2`: the base once for all nodes, and a thin overlay over it for each node; or each node's whole disk.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use super::definition::{
    ArtifactFormat, NodeArtifact, NodeWriter, Reading, SharedArtifact, WholeImage,
};
use crate::artifact::batch::{Batch, NodeDisk};
use crate::disk::qcow2::{self, Backing};
use crate::disk::{Clusters, Delta, Disk, Occupied};
use crate::util::error::Result;
use crate::util::sha256::Sha256;

/// What a node's own image holds: its delta over the shared base, or the whole disk.
const OVERLAY: &str = "overlay";
const STANDALONE: &str = "standalone";

/// What the base's name ends in; overlays find it beside them.
const BASE: &str = "-base.qcow2";

pub(super) static FORMAT: ArtifactFormat = ArtifactFormat {
    name: "qcow2",
    variants: &[OVERLAY, STANDALONE],
    node: Some(NodeArtifact { ending: ".qcow2", writer: NodeWriter::Each(write_node) }),
    shared: Some(SharedArtifact {
        ending: BASE,
        parent: Some(BASE),
        variant: Some(OVERLAY),
        is_public: true,
        is_parallel: false,
        write: |path, batch| write_standalone(path, batch, &Delta::new()),
    }),
    disk_in_bundle: None,
    reading: Reading::Random(1),
    runs_in_place: true,
    has_bmap: false,
    whole: Some(WholeImage { endings: &[".qcow2"], write: write_whole }),
    options: |_, _| String::new(),
};

fn write_node(path: &Path, batch: &Batch<'_>, node: &NodeDisk<'_>) -> Result<Option<Sha256>> {
    if FORMAT.shared_of(batch.cluster).is_some() {
        let name = format!("{}{BASE}", batch.base_name);
        write(path, batch, node.delta, Some(Backing { name: &name, format: "qcow2" }))?;
    } else {
        write_standalone(path, batch, node.delta)?;
    }
    Ok(None)
}

/// A whole disk, which needs no other file.
fn write_standalone(path: &Path, batch: &Batch<'_>, delta: &Delta) -> Result<()> {
    let disk = batch.prepared.with(delta);
    let occupied = batch.prepared.occupied_with(delta)?;
    write(path, batch, &Occupied::known(&disk, occupied), None)
}

fn write(
    path: &Path,
    batch: &Batch<'_>,
    clusters: &impl Clusters,
    backing: Option<Backing<'_>>,
) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
    qcow2::write(&mut out, batch.prepared.disk.size(), clusters, backing)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(())
}

fn write_whole(file: &File, _name: &str, disk: &dyn Disk) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, file);
    qcow2::write(&mut out, disk.size(), &Occupied::find(disk)?, None)?;
    out.flush()?;
    Ok(())
}
