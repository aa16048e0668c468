//! Installed packages by name.

use std::collections::BTreeMap;

use crate::fs::Tree;
use crate::guest::dpkg::DpkgStatus;
use crate::util::error::Result;

/// Name and version. A package of another architecture than the system's is called `name:arch`.
pub type PackageList = BTreeMap<String, String>;

/// What is installed; `None` when the image has no dpkg.
pub fn packages(tree: &dyn Tree) -> Result<Option<PackageList>> {
    let status = DpkgStatus::read(tree)?;
    Ok(status.map(|status| {
        let installed = status.installed();
        installed.map(|it| (status.qualified_name(it), it.version.clone())).collect()
    }))
}
