//! What a build would make, and why.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use super::bases::bases_for;
use super::find::OutputFolder;
use super::stale::SharedInputs;
use crate::artifact::{self, ArtifactFormat, Freshness, Manifest, Reason, artifact_of, chosen};
use crate::base::LockFile;
use crate::cache::Cache;
use crate::change::Change;
use crate::config::{Cluster, Node};
use crate::plan::{self, SharedBase};
use crate::secrets::Secrets;
use crate::util::error::Result;

/// An artifact of the output folder, and what a build would do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactStatus {
    /// The file's or bundle's name.
    pub name: String,
    /// What a build would do.
    pub fate: Fate,
}

/// What a build would do about an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is as it would be built, as far as can be told without preparing the base.
    Kept,
    /// It is made.
    Made(Reason),
    /// Somebody changed it since it was built, and a build refuses to replace it.
    Edited,
    /// An earlier build made it of a node or in a format that is no longer asked for; it stays.
    Left,
}

/// The artifacts of these nodes, in the order of formats and nodes. Nothing is fetched or written.
pub fn artifact_status(
    cluster: &Cluster,
    nodes: &[(&Node, &[Change])],
    secrets: &Secrets,
) -> Result<Vec<ArtifactStatus>> {
    let lock = LockFile::open(&cluster.directory)?;
    let (formats, template) = (chosen(cluster), plan::template(cluster)?);
    let mut digests = Vec::new();
    let names: Vec<_> = nodes.iter().map(|(node, _)| *node).collect();
    for (base, of_base) in bases_for(cluster, &formats, &names)? {
        let shared = SharedInputs::of(cluster, &base, secrets, &lock)?;
        let template = shared.disk(&template)?;
        let of_base: HashSet<_> = of_base.iter().map(|node| &node.hostname).collect();
        let of_base = nodes.iter().filter(|(node, _)| of_base.contains(&node.hostname));
        let disks = of_base.map(|(node, changes)| Ok((*node, shared.disk(changes)?)));
        let disks = disks.collect::<Result<Vec<_>>>()?;
        digests.extend(artifact::digests(cluster, &formats, &base.name, &template, &disks));
    }
    let output = OutputFolder::new(None, Some(cluster))?.path;
    let freshness = Freshness {
        cache: &Cache::look()?,
        cluster: &cluster.name,
        output: &output,
        from: None,
        compares_contents: false,
    };
    let reasons = freshness.reasons(&digests)?;
    let edited = freshness.edited(&digests.iter().map(|(name, _)| name.as_str()).collect())?;
    let is_edited = |name: &str| edited.iter().any(|path| artifact_of(path) == name);
    let fate = |name: &String| match reasons.get(name) {
        _ if is_edited(name) => Fate::Edited,
        Some(reason) => Fate::Made(*reason),
        None => Fate::Kept,
    };
    let status = |(name, _): (String, String)| ArtifactStatus { fate: fate(&name), name };
    let mut all: Vec<_> = digests.into_iter().map(status).collect();

    let left = left_over(cluster, &formats, &output)?;
    all.extend(left.into_iter().map(|name| ArtifactStatus { name, fate: Fate::Left }));
    Ok(all)
}

/// Names of artifacts that earlier builds made of nodes that the cluster no longer has, or in formats that
/// neither its file nor `formats` asks for.
pub(super) fn left_over(
    cluster: &Cluster,
    formats: &[&'static ArtifactFormat],
    output: &Path,
) -> Result<Vec<String>> {
    let Some(manifest) = Manifest::previous(output, &cluster.name) else { return Ok(Vec::new()) };
    let nodes: Vec<_> = cluster.nodes.iter().collect();
    let mut expected = BTreeSet::new();
    for formats in [formats, &chosen(cluster)] {
        let bases = bases_for(cluster, formats, &nodes)?;
        let of_base = |(base, nodes): &(SharedBase, Vec<&Node>)| {
            artifact::expected(cluster, formats, &base.name, nodes)
        };
        expected.extend(bases.iter().flat_map(of_base));
    }
    let of_disks = manifest.artifacts.iter().filter(|it| it.inputs.is_some());
    let mut left: Vec<String> = of_disks
        .map(|it| artifact_of(&it.path))
        .filter(|name| !expected.contains(*name) && output.join(name).exists())
        .map(str::to_owned)
        .collect();
    left.dedup();
    Ok(left)
}
