//! `.qcow2`: the base once for all nodes, and a thin overlay on it for each; or each node's whole disk.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

use super::prepared::PreparedBase;
use crate::disk::qcow2::{self, Backing};
use crate::disk::{Clusters, Delta, Disk as _, Occupied};
use crate::util::error::Result;

/// The file that all nodes' overlays stand on, found beside them.
pub(super) fn base_name(cluster: &str) -> String {
    format!("{cluster}-base.qcow2")
}

pub(super) fn write_base(path: &Path, prepared: &PreparedBase) -> Result<()> {
    write_standalone(path, prepared, &Delta::new())
}

pub(super) fn write_node(
    path: &Path,
    prepared: &PreparedBase,
    cluster: &str,
    delta: &Delta,
) -> Result<()> {
    let name = base_name(cluster);
    write(path, prepared, delta, Some(Backing { name: &name, format: "qcow2" }))
}

/// A node's whole disk, which needs no other file.
pub(super) fn write_standalone(path: &Path, prepared: &PreparedBase, delta: &Delta) -> Result<()> {
    let disk = prepared.with(delta);
    write(path, prepared, &Occupied::known(&disk, prepared.occupied_with(delta)?), None)
}

fn write(
    path: &Path,
    prepared: &PreparedBase,
    clusters: &impl Clusters,
    backing: Option<Backing<'_>>,
) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
    qcow2::write(&mut out, prepared.disk.size(), clusters, backing)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(())
}
