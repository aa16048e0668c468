//! Installed packages, from dpkg's own list.

use std::collections::BTreeMap;
use std::path::Path;

use super::read_text;
use crate::fs::Tree;
use crate::util::error::Result;

const STATUS: &str = "/var/lib/dpkg/status";

/// Name and version. A package of another architecture than the first one listed under its name is
/// called `name:arch`.
pub type Packages = BTreeMap<String, String>;

/// What is installed; `None` when the image has no dpkg.
pub fn packages(tree: &dyn Tree) -> Result<Option<Packages>> {
    if tree.resolve(Path::new(STATUS))?.is_none() {
        return Ok(None);
    }
    Ok(Some(parse(&read_text(tree, STATUS)?)))
}

fn parse(status: &str) -> Packages {
    let mut packages = Packages::new();
    for stanza in status.split("\n\n") {
        let field = |name: &str| {
            let mut lines = stanza.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        let is_installed = field("Status")
            .is_some_and(|status| status.split(' ').next_back() == Some("installed"));
        let (Some(name), Some(version), true) = (field("Package"), field("Version"), is_installed)
        else {
            continue;
        };
        let name = match field("Architecture") {
            Some(arch) if packages.contains_key(name) => format!("{name}:{arch}"),
            _ => name.to_owned(),
        };
        packages.insert(name, version.to_owned());
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_counts_and_what_was_does_not() {
        let found = parse(
            "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.41\n\n\
             Package: libc6\nStatus: install ok installed\nArchitecture: i386\nVersion: 2.41\n\n\
             Package: kubelet\nStatus: hold ok installed\nArchitecture: amd64\nVersion: 1.34\n\n\
             Package: nano\nStatus: deinstall ok config-files\nVersion: 8\n\n\
             Package: vim\nStatus: install ok half-installed\nVersion: 9\n",
        );
        let names: Vec<_> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["kubelet", "libc6", "libc6:i386"]);
        assert_eq!(found["kubelet"], "1.34");
    }
}
