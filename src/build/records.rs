//! What a build says of itself: its manifest and its SBOM.

use std::path::Path;
use std::sync::Arc;

use super::prepared::PreparedCluster;
use super::stamp::StampedNode;
use crate::apply;
use crate::artifact::{ArtifactRecord, InputRecord, Manifest, NodeRecord};
use crate::config::{Cluster, ClusterSource, Origin};
use crate::image::Image;
use crate::inspect::sbom::{self, Subject};
use crate::util::error::{Context, Result};
use crate::util::rfc3339::rfc3339;
use crate::util::sha256::Sha256;

/// The SBOM's name in the output folder.
pub(super) const SBOM: &str = "sbom.spdx.json";

/// The SBOM of what all nodes share: a stamp brings no software.
pub(super) fn sbom(cluster: &Cluster, prepared: &PreparedCluster) -> Result<String> {
    let image = Image::open(Arc::clone(&prepared.base.disk), 0)?;
    let subject = Subject {
        name: &cluster.name,
        sha256: prepared.base.image.about.sha256,
        created: &rfc3339(apply::clock()?),
        downloads: &prepared.downloads,
    };
    let document = sbom::describe(&image, &subject).context(|| "listing what is installed")?;
    Ok(format!("{document:#}\n"))
}

/// The manifest of a build, and of what earlier builds left in `output`.
pub(super) fn manifest(
    cluster: &Cluster,
    prepared: &PreparedCluster,
    stamped: &[StampedNode<'_>],
    artifacts: Vec<ArtifactRecord>,
    unlisted: Vec<String>,
    output: &Path,
) -> Result<Manifest> {
    let name = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
    // Files by their names, which is all that reproduces elsewhere; overrides by theirs.
    let sources = cluster.sources.iter().map(|ClusterSource { origin, source }| InputRecord {
        name: match origin {
            Origin::File => "cluster file".into(),
            Origin::Environment | Origin::CommandLine => "override".into(),
        },
        origin: name(&source.name),
        sha256: Sha256::of(&source.text),
    });
    let mut inputs: Vec<InputRecord> = sources.collect();
    inputs.extend(prepared.inputs.iter().cloned());
    inputs.push(InputRecord {
        name: "prepared base".into(),
        origin: format!("cache key {}", prepared.key),
        sha256: prepared.base.image.about.sha256,
    });
    let mut manifest = Manifest {
        generator: format!("nodeforge {}", env!("CARGO_PKG_VERSION")),
        cluster: cluster.name.clone(),
        profile: cluster.profile.name.clone(),
        inputs,
        packages: prepared.base.image.about.packages.clone(),
        nodes: stamped
            .iter()
            .map(|it| NodeRecord {
                hostname: it.node.hostname.clone(),
                role: it.node.role.clone(),
                delta_bytes: it.delta_bytes,
                files: it.files.clone(),
            })
            .collect(),
        artifacts,
        unlisted: Some(unlisted),
    };
    manifest.artifacts.sort();
    manifest.merge_previous(output)?;
    // In the order of the cluster file, whichever of them were made now.
    let place =
        |it: &NodeRecord| cluster.nodes.iter().position(|node| node.hostname == it.hostname);
    manifest.nodes.sort_by_key(|it| place(it).unwrap_or(usize::MAX));
    Ok(manifest)
}
