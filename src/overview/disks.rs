//! Disks drawn to scale, one for all nodes that share a prepared base.

use std::path::Path;

use serde::Serialize;

use crate::artifact::{Manifest, bootable, disk_of};
use crate::config::Cluster;
use crate::inspect::{PartitionFacts, Report};
use crate::util::room::mib;

/// Units of the drawing's width.
const WIDTH: f64 = 1000.0;
/// So many of them are seen, however small the part is.
const NARROWEST: f64 = 3.0;

/// A disk.
#[derive(Serialize)]
pub(super) struct DrawnDisk {
    /// The nodes that have it so.
    nodes: Vec<String>,
    /// The artifact that was looked at.
    artifact: String,
    size: String,
    parts: Vec<DrawnPart>,
}

/// A partition of it.
#[derive(Serialize)]
struct DrawnPart {
    number: String,
    x: String,
    width: String,
    /// Of what is in use.
    used_width: String,
    title: String,
    mount_point: String,
    size: String,
    used: String,
}

/// The disks of a build's nodes, as far as artifacts that can be looked into are there.
pub(super) fn of(cluster: &Cluster, manifest: &Manifest, output: &Path) -> Vec<DrawnDisk> {
    let mut bases: Vec<Option<&str>> = manifest.nodes.iter().map(|it| it.base.as_deref()).collect();
    bases.sort_unstable();
    bases.dedup();
    let draw = |base: Option<&str>| -> Option<DrawnDisk> {
        let nodes = manifest.nodes.iter().filter(|it| it.base.as_deref() == base);
        let nodes =
            nodes.filter(|it| cluster.nodes.iter().any(|node| node.hostname == it.hostname));
        let nodes: Vec<String> = nodes.map(|it| it.hostname.clone()).collect();
        let first = nodes.first()?;
        let names = bootable().into_iter().filter_map(|format| format.of_node(first));
        let path = names.map(|name| output.join(name)).find(|it| it.exists())?;
        let report = Report::of(&disk_of(&path), &[]).ok()?;
        let artifact = path.file_name()?.to_string_lossy().into_owned();
        let parts = report.partitions.iter().map(|it| part(it, report.size)).collect();
        Some(DrawnDisk { nodes, artifact, size: mib(report.size), parts })
    };
    bases.into_iter().filter_map(draw).collect()
}

fn part(facts: &PartitionFacts, size: u64) -> DrawnPart {
    let units = |bytes: u64| bytes as f64 / size.max(1) as f64 * WIDTH;
    let width = units(facts.size).max(NARROWEST);
    let share = facts.used.map_or(0.0, |used| used as f64 / facts.size.max(1) as f64);
    let names = [&facts.file_system, &facts.label, &facts.name];
    let title = names.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ");
    DrawnPart {
        number: facts.number.map_or_else(String::new, |number| number.to_string()),
        x: format!("{:.2}", units(facts.start).min(WIDTH - width)),
        width: format!("{width:.2}"),
        used_width: format!("{:.2}", width * share.clamp(0.0, 1.0)),
        title,
        mount_point: facts.mount_point.clone().unwrap_or_default(),
        size: mib(facts.size),
        used: facts.used.map_or_else(String::new, mib),
    }
}
