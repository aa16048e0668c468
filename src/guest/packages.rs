//! What is installed in an image, from dpkg's own database.

use crate::cache::Package;

/// Where dpkg keeps it.
pub(crate) const STATUS: &str = "/var/lib/dpkg/status";

/// The packages that are installed, from the text of [`STATUS`], sorted.
pub(crate) fn installed(status: &str) -> Vec<Package> {
    let mut packages: Vec<Package> = status.split("\n\n").filter_map(parse).collect();
    packages.sort();
    packages
}

fn parse(stanza: &str) -> Option<Package> {
    let field = |name: &str| {
        stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::trim)
    };
    // `install ok installed`, or `hold ok installed`.
    if !field("Status")?.ends_with(" ok installed") {
        return None;
    }
    Some(Package {
        name: field("Package")?.to_owned(),
        version: field("Version")?.to_owned(),
        architecture: field("Architecture")?.to_owned(),
        sha256: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_installed_is_listed() {
        let status = "Package: zlib1g\nStatus: hold ok installed\nArchitecture: amd64\n\
                      Version: 1:1.3\nDescription: x\n Package: not-a-field\n\n\
                      Package: adduser\nStatus: install ok installed\nArchitecture: all\nVersion: 3.1\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n";
        let names: Vec<_> = installed(status).into_iter().map(|it| (it.name, it.version)).collect();
        assert_eq!(
            names,
            [("adduser".into(), "3.1".into()), ("zlib1g".to_owned(), "1:1.3".to_owned())]
        );
    }
}
