//! What one build changed of what the one before it had left.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::artifact::Manifest;

/// The differences of two manifests of a cluster.
#[derive(Serialize)]
pub(super) struct ManifestChanges {
    /// Packages, files and nodes that are new, gone, or otherwise.
    pub(super) lines: Vec<ChangedThing>,
}

/// One thing that differs.
#[derive(Serialize)]
pub(super) struct ChangedThing {
    /// `+`, `-` or `~`.
    sign: char,
    /// `package`, `node`, `artifact`, `input`.
    kind: &'static str,
    name: String,
    /// What it was, and what it is.
    what: String,
}

impl ManifestChanges {
    /// What `after` has otherwise than `before`.
    pub(super) fn between(before: &Manifest, after: &Manifest) -> Self {
        let mut lines = Vec::new();
        let packages = |it: &Manifest| -> BTreeMap<String, String> {
            let all = it.packages.iter().chain(it.bases.iter().flat_map(|base| &base.packages));
            all.map(|it| (it.name.clone(), it.version.clone())).collect()
        };
        differ("package", &packages(before), &packages(after), String::clone, &mut lines);
        let nodes = |it: &Manifest| -> BTreeMap<String, String> {
            it.nodes.iter().map(|it| (it.hostname.clone(), it.role.clone())).collect()
        };
        differ("node", &nodes(before), &nodes(after), String::clone, &mut lines);
        let inputs = |it: &Manifest| -> BTreeMap<String, String> {
            let name = |name: &str, origin: &str| format!("{name} {origin}");
            it.inputs.iter().map(|it| (name(&it.name, &it.origin), it.sha256.to_string())).collect()
        };
        differ("input", &inputs(before), &inputs(after), |it| short(it), &mut lines);
        let artifacts = |it: &Manifest| -> BTreeMap<String, String> {
            it.artifacts.iter().map(|it| (it.path.clone(), it.sha256.to_string())).collect()
        };
        differ("artifact", &artifacts(before), &artifacts(after), |it| short(it), &mut lines);
        Self { lines }
    }
}

fn differ(
    kind: &'static str,
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
    shown: impl Fn(&String) -> String,
    lines: &mut Vec<ChangedThing>,
) {
    for (name, was) in before {
        let (sign, what) = match after.get(name) {
            Some(is) if is == was => continue,
            Some(is) => ('~', format!("{} → {}", shown(was), shown(is))),
            None => ('-', shown(was)),
        };
        lines.push(ChangedThing { sign, kind, name: name.clone(), what });
    }
    for (name, is) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
        lines.push(ChangedThing { sign: '+', kind, name: name.clone(), what: shown(is) });
    }
}

/// As much of a hash as tells two apart.
fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}
