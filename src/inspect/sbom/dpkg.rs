//! dpkg's list of packages (deb-control(5)), for what an SBOM says of each.

use std::path::Path;

use crate::fs::Tree;
use crate::util::error::Result;

const STATUS: &str = "/var/lib/dpkg/status";

/// dpkg's status has some MiB.
const LIMIT: u64 = 64 << 20;

/// An installed package.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) architecture: String,
    pub(super) version: String,
    /// Its source package and that one's version.
    pub(super) source: String,
    pub(super) maintainer: String,
    /// Where its makers are, when that is an address.
    pub(super) homepage: Option<String>,
}

/// What is installed, by name; nothing in an image without dpkg.
pub(super) fn installed(tree: &dyn Tree) -> Result<Vec<Package>> {
    let content = tree.read(Path::new(STATUS), LIMIT)?.unwrap_or_default();
    Ok(parse(&String::from_utf8_lossy(&content)))
}

fn parse(status: &str) -> Vec<Package> {
    let mut packages: Vec<Package> = status.split("\n\n").filter_map(Package::parse).collect();
    packages.sort();
    packages.dedup_by(|a, b| a.name == b.name && a.architecture == b.architecture);
    packages
}

impl Package {
    fn parse(stanza: &str) -> Option<Self> {
        let field = |name: &str| {
            let mut lines = stanza.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        if field("Status")?.split(' ').next_back() != Some("installed") {
            return None;
        }
        let (name, version) = (field("Package")?, field("Version")?);
        // `Source: perl (5.40.1-6)`, without what is the same as the package's.
        let source = field("Source").unwrap_or(name);
        let (source, source_version) = match source.split_once(" (") {
            Some((source, rest)) => (source, rest.trim_end_matches(')')),
            None => (source, version),
        };
        let is_address = |it: &&str| {
            let rest = it.strip_prefix("https://").or_else(|| it.strip_prefix("http://"));
            rest.is_some_and(|rest| rest.contains('.') && rest.bytes().all(is_plain))
        };
        Some(Self {
            name: name.to_owned(),
            architecture: field("Architecture")?.to_owned(),
            version: version.to_owned(),
            source: format!("{source} {source_version}"),
            maintainer: field("Maintainer").unwrap_or_default().to_owned(),
            homepage: field("Homepage").filter(is_address).map(str::to_owned),
        })
    }

    /// `Organization: Debian Perl Group (pkg-perl@example.org)`: whoever maintains it distributes
    /// it. `None` when the field is not `NAME <ADDRESS>`.
    pub(super) fn supplier(&self) -> Option<String> {
        let (name, address) = self.maintainer.split_once('<')?;
        let (name, address) = (name.trim().trim_matches('"'), address.strip_suffix('>')?);
        let is_sound = !name.is_empty() && !name.contains(['(', ')']) && address.contains('@');
        is_sound.then(|| format!("Organization: {name} ({address})"))
    }
}

/// Whether a byte may stand in an address as it is.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~/:?#=&%+@".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_told_apart() {
        let found = parse(
            "Package: perl-base\nStatus: install ok installed\nArchitecture: arm64\n\
             Maintainer: Niko Tyni <ntyni@debian.org>\nSource: perl (5.40.1-6)\n\
             Version: 5.40.1-6+b1\nHomepage: http://dev.perl.org/perl5/\n\n\
             Package: adduser\nStatus: install ok installed\nArchitecture: all\nVersion: 3\n\
             Maintainer: Somebody (really) <a@b>\nHomepage: ask me\n\n\
             Package: nano\nStatus: deinstall ok config-files\nArchitecture: arm64\nVersion: 8\n",
        );
        let [adduser, perl] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(perl.source, "perl 5.40.1-6");
        assert_eq!(perl.supplier().as_deref(), Some("Organization: Niko Tyni (ntyni@debian.org)"));
        assert_eq!(perl.homepage.as_deref(), Some("http://dev.perl.org/perl5/"));
        assert_eq!(
            (adduser.source.as_str(), adduser.supplier(), &adduser.homepage),
            ("adduser 3", None, &None)
        );
    }
}
