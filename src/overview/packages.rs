//! Packages of the prepared bases, with their licences where an SBOM in the output folder knows them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::artifact::Manifest;

/// The most bytes of an SBOM that are read.
const MOST: u64 = 64 << 20;

/// One package.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct PackageLine {
    name: String,
    version: String,
    /// The prepared base that has it, where that is not the main one.
    base: String,
    /// An SPDX expression, or nothing.
    licence: String,
}

/// All packages, by name.
pub(super) fn of(manifest: &Manifest, output: &Path) -> Vec<PackageLine> {
    let licences = licences(manifest, output);
    let main = manifest.packages.iter().map(|it| (String::new(), it));
    let others = manifest.bases.iter();
    let others = others.flat_map(|base| base.packages.iter().map(|it| (base.name.clone(), it)));
    let mut seen = BTreeSet::new();
    let mut lines: Vec<PackageLine> = main
        .chain(others)
        // What the main base has in the same version is not said again.
        .filter(|(_, it)| seen.insert((it.name.clone(), it.version.clone())))
        .map(|(base, it)| PackageLine {
            name: it.name.clone(),
            version: it.version.clone(),
            base,
            licence: licences.get(&it.name).cloned().unwrap_or_default(),
        })
        .collect();
    lines.sort();
    lines
}

/// Declared licences by the names of packages.
fn licences(manifest: &Manifest, output: &Path) -> BTreeMap<String, String> {
    let paths = manifest.artifacts.iter().map(|it| &it.path);
    let mut licences = BTreeMap::new();
    for path in paths.filter(|it| it.ends_with(".spdx.json")) {
        let path = output.join(path);
        let is_bearable = fs::metadata(&path).is_ok_and(|it| it.len() <= MOST);
        let text = if is_bearable { fs::read(&path).unwrap_or_default() } else { Vec::new() };
        let document: Value = serde_json::from_slice(&text).unwrap_or_default();
        for package in document["packages"].as_array().into_iter().flatten() {
            if let (Some(name), Some(licence)) =
                (package["name"].as_str(), package["licenseDeclared"].as_str())
                && licence != "NOASSERTION"
            {
                licences.insert(name.to_owned(), licence.to_owned());
            }
        }
    }
    licences
}
