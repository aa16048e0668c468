//! What a build says of itself: its manifest and its SBOM.

use std::path::Path;
use std::sync::Arc;

use super::built_base::BuiltBase;
use super::prepared::PreparedCluster;
use crate::apply;
use crate::artifact::{
    ArtifactRecord, BaseRecord, InputRecord, Manifest, NodeRecord, PREPARED_BASE,
};
use crate::config::{Cluster, ClusterSource, Origin};
use crate::image::Image;
use crate::inspect::sbom::{self, Subject};
use crate::plan::SharedBase;
use crate::util::error::{Context, Result};
use crate::util::rfc3339::rfc3339;
use crate::util::sha256::Sha256;

/// The name of a prepared base's SBOM in the output folder: `sbom.spdx.json`, `sbom+lvm2.spdx.json`.
pub(super) fn sbom_name(cluster: &Cluster, base: &SharedBase) -> String {
    format!("sbom{}.spdx.json", base.name.strip_prefix(&cluster.name).unwrap_or_default())
}

/// The SBOM of what nodes share: a stamp brings no software.
pub(super) fn sbom(base: &SharedBase, prepared: &PreparedCluster) -> Result<String> {
    let image = Image::open(Arc::clone(&prepared.base.disk), 0)?;
    let subject = Subject {
        name: &base.name,
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
    built: &[BuiltBase<'_>],
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
    // Of several bases these are the same: only packages differ.
    inputs.extend(built.first().iter().flat_map(|it| it.prepared.inputs.iter().cloned()));
    let main = built.iter().find(|it| it.base.own.is_empty());
    inputs.extend(main.map(|it| InputRecord {
        name: PREPARED_BASE.into(),
        origin: format!("cache key {}", it.prepared.key),
        sha256: it.prepared.base.image.about.sha256,
    }));
    let others = built.iter().filter(|it| !it.base.own.is_empty());
    let mut bases: Vec<_> = others
        .map(|it| BaseRecord {
            name: it.base.name.clone(),
            own: it.base.own.clone(),
            key: it.prepared.key.clone(),
            sha256: it.prepared.base.image.about.sha256,
            packages: it.prepared.base.image.about.packages.clone(),
        })
        .collect();
    bases.sort_by(|one, other| one.name.cmp(&other.name));
    let stamped = built.iter().flat_map(|it| it.nodes.iter().map(move |node| (&it.base, node)));
    let mut manifest = Manifest {
        generator: format!("nodeforge {}", env!("CARGO_PKG_VERSION")),
        cluster: cluster.name.clone(),
        profile: cluster.profile.name.clone(),
        inputs,
        packages: main.map_or_else(Vec::new, |it| it.prepared.base.image.about.packages.clone()),
        bases,
        nodes: stamped
            .map(|(base, it)| NodeRecord {
                hostname: it.node.hostname.clone(),
                role: it.node.role.clone(),
                base: (!base.own.is_empty()).then(|| base.name.clone()),
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
