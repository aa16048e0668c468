//! Artifacts that read others: overlays their base, linked clones their template.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::format::FORMATS;
use super::made::Artifact;
use super::manifest::{ArtifactRecord, Manifest};
use crate::disk::sha256_of_file;
use crate::util::error::{Error, Result};

/// Artifacts in `output`, each with its node, that read a file which one of `made` with other bytes is
/// about to replace.
pub fn outdated(cluster: &str, made: &[&Artifact], output: &Path) -> BTreeSet<(String, String)> {
    let Some(previous) = Manifest::previous(output, cluster) else { return BTreeSet::new() };
    let is_settled = output.join(Manifest::SUMS).is_file();
    let before: BTreeMap<_, _> =
        previous.artifacts.iter().map(|it| (it.path.as_str(), it.sha256)).collect();
    let is_replaced = |file: &&ArtifactRecord| {
        let before = before.get(file.path.as_str());
        before.is_some_and(|it| !is_settled || *it != file.sha256)
    };
    let files = made.iter().filter(|it| it.node.is_none()).flat_map(|it| &it.files);
    let replaced: BTreeSet<_> = files.filter(is_replaced).map(|it| it.path.as_str()).collect();
    let bases: BTreeMap<_, _> = previous
        .nodes
        .iter()
        .filter_map(|it| Some((it.hostname.as_str(), it.base.as_deref()?)))
        .collect();
    let mut outdated = BTreeSet::new();
    for format in FORMATS {
        let Some(parent) = format.shared.as_ref().and_then(|it| it.parent) else { continue };
        let names = previous.artifacts.iter().filter_map(|it| {
            let (name, node) = (it.path.split('/').next()?, it.node.as_ref()?);
            let base = bases.get(node.as_str()).copied().unwrap_or(cluster);
            let is_child = format.of_node(node).is_some_and(|it| it == name)
                && replaced.contains(format!("{base}{parent}").as_str());
            (is_child && output.join(name).exists()).then(|| (name.to_owned(), node.clone()))
        });
        outdated.extend(names);
    }
    outdated
}

/// Names of artifacts that nodes share and that are there with the bytes that were made now: machines that
/// run may be reading them.
pub fn unchanged(cluster: &str, made: &[&Artifact], output: &Path) -> Result<BTreeSet<String>> {
    let Some(previous) = Manifest::settled(output, cluster) else { return Ok(BTreeSet::new()) };
    let shared = made.iter().filter(|it| it.node.is_none() && !it.files.is_empty());
    // A link is not what was made, and neither is what was edited since.
    let is_there = |file: &ArtifactRecord| {
        let path = output.join(&file.path);
        let is_file = fs::symlink_metadata(&path).is_ok_and(|it| it.is_file());
        let is_known = previous.artifacts.iter().any(|it| it.has_same_bytes(file));
        Ok::<_, Error>(is_file && is_known && sha256_of_file(&path)? == file.sha256)
    };
    let mut unchanged = BTreeSet::new();
    for artifact in shared {
        let mut all_are_there = true;
        for file in &artifact.files {
            all_are_there = all_are_there && is_there(file)?;
        }
        if all_are_there {
            unchanged.insert(artifact.name.clone());
        }
    }
    Ok(unchanged)
}
