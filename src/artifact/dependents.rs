//! Artifacts that read others: overlays their base, linked clones their template.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::format::FORMATS;
use super::made::Artifact;
use super::manifest::{ArtifactRecord, Manifest};

/// Artifacts in `output`, each with its node, that read a file which one of `made` with other bytes is
/// about to replace.
pub fn outdated(cluster: &str, made: &[Artifact], output: &Path) -> BTreeSet<(String, String)> {
    let Some(previous) = Manifest::previous(output, cluster) else { return BTreeSet::new() };
    let is_settled = output.join(Manifest::SUMS).is_file();
    let mut outdated = BTreeSet::new();
    for format in FORMATS {
        let Some(parent) = format.shared.as_ref().and_then(|it| it.parent) else { continue };
        let parent = format!("{cluster}{parent}");
        let before = previous.artifacts.iter().find(|it| it.path == parent);
        let after = made.iter().flat_map(|it| &it.files).find(|it| it.path == parent);
        let (Some(before), Some(after)) = (before, after) else { continue };
        if is_settled && before.sha256 == after.sha256 {
            continue;
        }
        let names = previous.artifacts.iter().filter_map(|it| {
            let (name, node) = (it.path.split('/').next()?, it.node.as_ref()?);
            let is_child = format.of_node(node).is_some_and(|it| it == name);
            (is_child && output.join(name).exists()).then(|| (name.to_owned(), node.clone()))
        });
        outdated.extend(names);
    }
    outdated
}

/// Names of artifacts that nodes share and that the last build made with the same bytes: machines that
/// run may be reading them.
pub fn unchanged(cluster: &str, made: &[Artifact], output: &Path) -> BTreeSet<String> {
    let Some(previous) = Manifest::settled(output, cluster) else { return BTreeSet::new() };
    let shared = made.iter().filter(|it| it.node.is_none() && !it.files.is_empty());
    let is_there = |it: &Artifact| {
        let is_known =
            |file: &ArtifactRecord| previous.artifacts.iter().any(|it| it.has_same_bytes(file));
        // A link is not what was made.
        let is_file =
            |path: &str| fs::symlink_metadata(output.join(path)).is_ok_and(|found| found.is_file());
        it.files.iter().all(|file| is_known(file) && is_file(&file.path))
    };
    shared.filter(|it| is_there(it)).map(|it| it.name.clone()).collect()
}
