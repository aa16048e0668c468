//! The packages that are installed in a root, as the cache and lock files name them.

use crate::cache::Package;
use crate::fs::Tree;
use crate::guest::dpkg::{DpkgPackage, DpkgStatus};
use crate::util::error::Result;

/// What is installed, sorted; empty in a root without dpkg.
pub(crate) fn installed(tree: &dyn Tree) -> Result<Vec<Package>> {
    let status = DpkgStatus::read(tree)?.unwrap_or_default();
    let mut packages: Vec<Package> = status.installed().map(package).collect();
    packages.sort();
    Ok(packages)
}

fn package(it: &DpkgPackage) -> Package {
    Package {
        name: it.name.clone(),
        version: it.version.clone(),
        architecture: it.architecture.clone(),
        sha256: None,
    }
}
