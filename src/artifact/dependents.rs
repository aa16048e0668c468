//! Artifacts that stand on others: overlays on their base, linked clones on their template.

use std::collections::BTreeSet;
use std::path::Path;

use super::Artifact;
use super::manifest::Manifest;
use crate::artifact::{qcow2, vmwarevm};

/// Artifacts in `output`, each with its node, that stand on a file in whose place one of `made` with
/// other bytes is about to come. They would read those.
pub fn outdated(cluster: &str, made: &[Artifact], output: &Path) -> BTreeSet<(String, String)> {
    let Some(previous) = Manifest::previous(output, cluster) else { return BTreeSet::new() };
    let is_settled = output.join(Manifest::SUMS).is_file();
    let mut outdated = BTreeSet::new();
    for (parent, ending) in
        [(qcow2::base_name(cluster), "qcow2"), (vmwarevm::base_disk_name(cluster), "vmwarevm")]
    {
        let before = previous.artifacts.iter().find(|it| it.path == parent);
        let after = made.iter().flat_map(|it| &it.files).find(|it| it.path == parent);
        let (Some(before), Some(after)) = (before, after) else { continue };
        if is_settled && before.sha256 == after.sha256 {
            continue;
        }
        let names = previous.artifacts.iter().filter_map(|it| {
            let (name, node) = (it.path.split('/').next()?, it.node.as_ref()?);
            let is_child = name == format!("{node}.{ending}") && output.join(name).exists();
            is_child.then(|| (name.to_owned(), node.clone()))
        });
        outdated.extend(names);
    }
    outdated
}

/// Names of artifacts that nodes share and that the last build made just so: machines that run may
/// stand on them.
pub fn unchanged(cluster: &str, made: &[Artifact], output: &Path) -> BTreeSet<String> {
    let Some(previous) = Manifest::settled(output, cluster) else { return BTreeSet::new() };
    let shared = made.iter().filter(|it| it.node.is_none() && !it.files.is_empty());
    let is_there = |it: &Artifact| {
        let is_known = |file| previous.artifacts.contains(file);
        it.files.iter().all(|file| is_known(file) && output.join(&file.path).is_file())
    };
    shared.filter(|it| is_there(it)).map(|it| it.name.clone()).collect()
}
