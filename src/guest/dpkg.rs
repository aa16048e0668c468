//! dpkg's database of packages, `/var/lib/dpkg/status`.
//!
//! Sources: deb-control(5) for the format, dpkg(1) "PACKAGE STATES" for what a state means, and
//! dpkg-query(1), which the tests compare with.

use std::collections::BTreeMap;
use std::path::Path;

use crate::fs::Tree;
use crate::util::error::Result;

/// Where dpkg keeps it.
const STATUS: &str = "/var/lib/dpkg/status";

/// The most that is read of it, in bytes: a large system has some MiB.
const LIMIT: u64 = 64 << 20;

/// All packages that dpkg knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct DpkgStatus {
    /// By name and architecture.
    packages: BTreeMap<(String, String), DpkgPackage>,
}

/// A package that dpkg knows, installed or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DpkgPackage {
    pub name: String,
    pub version: String,
    /// `amd64`, `all`.
    pub architecture: String,
    /// The name of its source package.
    pub source: String,
    /// That one's version.
    pub source_version: String,
    /// `NAME <ADDRESS>`; empty when there is none.
    pub maintainer: String,
    pub homepage: Option<String>,
    pub state: DpkgState,
}

/// How far a package is installed: the third word of `Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DpkgState {
    NotInstalled,
    ConfigFiles,
    HalfInstalled,
    Unpacked,
    HalfConfigured,
    TriggersAwaited,
    TriggersPending,
    Installed,
}

impl DpkgState {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "not-installed" => Self::NotInstalled,
            "config-files" => Self::ConfigFiles,
            "half-installed" => Self::HalfInstalled,
            "unpacked" => Self::Unpacked,
            "half-configured" => Self::HalfConfigured,
            "triggers-awaited" => Self::TriggersAwaited,
            "triggers-pending" => Self::TriggersPending,
            "installed" => Self::Installed,
            _ => return None,
        })
    }

    /// Whether dpkg counts the package as there when another depends on it. One that waits for
    /// triggers is configured; one that is half-configured or unpacked is not.
    fn is_installed(self) -> bool {
        match self {
            Self::Installed | Self::TriggersAwaited | Self::TriggersPending => true,
            Self::NotInstalled
            | Self::ConfigFiles
            | Self::HalfInstalled
            | Self::Unpacked
            | Self::HalfConfigured => false,
        }
    }
}

impl DpkgStatus {
    /// Reads an image's; `None` when it has no dpkg.
    pub(crate) fn read(tree: &dyn Tree) -> Result<Option<Self>> {
        let content = tree.read(Path::new(STATUS), LIMIT)?;
        Ok(content.map(|bytes| Self::parse(&String::from_utf8_lossy(&bytes))))
    }

    /// Reads the text of one.
    pub(crate) fn parse(text: &str) -> Self {
        let mut packages = BTreeMap::new();
        let mut lines = text.lines().peekable();
        while lines.peek().is_some() {
            let stanza = lines.by_ref().take_while(|line| !line.is_empty());
            if let Some(package) = DpkgPackage::parse(stanza) {
                // Of two for the same name and architecture dpkg keeps the later.
                packages.insert((package.name.clone(), package.architecture.clone()), package);
            }
        }
        Self { packages }
    }

    /// What is installed, by name and then architecture.
    pub(crate) fn installed(&self) -> impl Iterator<Item = &DpkgPackage> {
        self.packages.values().filter(|package| package.state.is_installed())
    }

    /// The package's name as `dpkg-query -l` prints it where that is needed to tell it from the
    /// native one: `libc6:i386` on amd64.
    pub(crate) fn qualified_name(&self, package: &DpkgPackage) -> String {
        let architecture = package.architecture.as_str();
        if architecture == "all" || self.native().is_none_or(|native| native == architecture) {
            package.name.clone()
        } else {
            format!("{}:{architecture}", package.name)
        }
    }

    /// The system's own architecture: that of dpkg itself, which has it compiled in.
    fn native(&self) -> Option<&str> {
        let of_dpkg = self.installed().find(|package| package.name == "dpkg");
        let any = || self.installed().find(|package| package.architecture != "all");
        of_dpkg.or_else(any).map(|package| package.architecture.as_str())
    }
}

impl DpkgPackage {
    /// `None` for a stanza without what every package has.
    fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut fields = BTreeMap::new();
        for line in lines {
            // A line that begins with a blank continues the field above, whatever it looks like.
            // None of the fields that are used here may have one.
            if let Some((name, value)) = line.split_once(':')
                && !line.starts_with([' ', '\t'])
            {
                fields.insert(name.to_ascii_lowercase(), value.trim());
            }
        }
        let field = |name: &str| fields.get(name).copied().filter(|value| !value.is_empty());
        // `install ok installed`: what is wanted, whether something is wrong, how far it is.
        let state = DpkgState::parse(field("status")?.split_ascii_whitespace().nth(2)?)?;
        let (name, version) = (field("package")?, field("version")?);
        // `perl (5.40.1-6)`, without what is the same as the package's own.
        let source = field("source").unwrap_or(name);
        let (source, source_version) = match source.split_once('(') {
            Some((source, rest)) => (source.trim(), rest.trim_end_matches(')').trim()),
            None => (source, version),
        };
        Some(Self {
            // dpkg writes names in small letters, and compares them so.
            name: name.to_ascii_lowercase(),
            version: version.to_owned(),
            architecture: field("architecture").unwrap_or_default().to_owned(),
            source: source.to_owned(),
            source_version: source_version.to_owned(),
            maintainer: field("maintainer").unwrap_or_default().to_owned(),
            homepage: field("homepage").map(str::to_owned),
            state,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One package for each state, and everything that the format allows.
    const SAMPLE: &str = "\
Package: dpkg
Status: install ok installed
Architecture: NATIVE
Version: 1.22
Maintainer: Dpkg Developers <debian-dpkg@lists.debian.org>
Description: the package manager
 Package: not-a-field
 .
 Status: deinstall ok config-files

package: perl-base
STATUS: hold ok installed
Architecture: NATIVE
Version:   5.40.1-6+b1
Source: perl (5.40.1-6)
Maintainer: Niko Tyni <ntyni@debian.org>
Homepage: http://dev.perl.org/perl5/
Conffiles:
 /etc/perl/x 0123456789abcdef0123456789abcdef
Description: x

Package: libx
Status: install ok installed
Architecture: OTHER
Multi-Arch: same
Version: 2
Maintainer: a <a@b>
Description: x

Package: adduser
Status: install ok installed
Architecture: all
Version: 3
Maintainer: a <a@b>
Description: x

Package: awaits
Status: install ok triggers-awaited
Architecture: all
Version: 1
Triggers-Awaited: dpkg
Maintainer: a <a@b>
Description: x

Package: pending
Status: install ok triggers-pending
Architecture: all
Version: 1:2-3
Triggers-Pending: ldconfig
Maintainer: a <a@b>
Description: x

Package: broken
Status: install reinstreq half-installed
Architecture: all
Version: 1
Maintainer: a <a@b>
Description: x

Package: unpacked
Status: install ok unpacked
Architecture: all
Version: 1
Maintainer: a <a@b>
Description: x

Package: half
Status: install ok half-configured
Architecture: all
Version: 1
Config-Version: 1
Maintainer: a <a@b>
Description: x

Package: nano
Status: deinstall ok config-files
Architecture: NATIVE
Version: 8
Maintainer: a <a@b>
Config-Version: 8
Conffiles:
 /etc/nanorc 0123456789abcdef0123456789abcdef
Description: x

Package: leaving
Status: deinstall ok installed
Architecture: all
Version: 4
Maintainer: a <a@b>
Description: x
";

    #[cfg(target_os = "linux")]
    #[test]
    fn states_and_names_are_those_that_dpkg_query_prints() {
        use crate::util::process::Tool;

        let dpkg = |arguments: &[&str]| Tool::new("dpkg-query", "dpkg").args(arguments).run();
        let native = Tool::new("dpkg", "dpkg").args(["--print-architecture"]).run().unwrap();
        let native = native.trim();
        let other = if native == "i386" { "amd64" } else { "i386" };
        let folder = tempfile::tempdir().unwrap();
        let text = SAMPLE.replace("NATIVE", native).replace("OTHER", other);
        std::fs::write(folder.path().join("status"), &text).unwrap();
        std::fs::write(folder.path().join("arch"), format!("{native}\n{other}\n")).unwrap();
        for name in ["updates", "info", "triggers"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let said = dpkg(&[
            &format!("--admindir={}", folder.path().display()),
            "-W",
            "-f=${db:Status-Status} ${binary:Package} ${Version} ${source:Package} ${source:Version}\n",
        ]);
        let said = said.unwrap();
        let mut theirs: Vec<&str> = said.lines().collect();
        theirs.sort_unstable();

        let ours = DpkgStatus::parse(&text);
        let word = |state| match state {
            DpkgState::NotInstalled => "not-installed",
            DpkgState::ConfigFiles => "config-files",
            DpkgState::HalfInstalled => "half-installed",
            DpkgState::Unpacked => "unpacked",
            DpkgState::HalfConfigured => "half-configured",
            DpkgState::TriggersAwaited => "triggers-awaited",
            DpkgState::TriggersPending => "triggers-pending",
            DpkgState::Installed => "installed",
        };
        let line = |it: &DpkgPackage| {
            let name = ours.qualified_name(it);
            let state = word(it.state);
            format!("{state} {name} {} {} {}", it.version, it.source, it.source_version)
        };
        let mut lines: Vec<String> = ours.packages.values().map(line).collect();
        lines.sort_unstable();
        assert_eq!(lines, theirs);
    }

    #[test]
    fn what_dpkg_counts_as_there_is_installed() {
        let status =
            DpkgStatus::parse(&SAMPLE.replace("NATIVE", "arm64").replace("OTHER", "amd64"));
        let names: Vec<String> =
            status.installed().map(|package| status.qualified_name(package)).collect();
        assert_eq!(
            names,
            ["adduser", "awaits", "dpkg", "leaving", "libx:amd64", "pending", "perl-base"]
        );
    }

    #[test]
    fn a_foreign_package_is_qualified_even_when_it_is_listed_first() {
        let stanza = |name: &str, architecture: &str| {
            format!(
                "Package: {name}\nStatus: install ok installed\nArchitecture: {architecture}\nVersion: 1\n\n"
            )
        };
        let text = stanza("libc6", "amd64") + &stanza("libc6", "arm64") + &stanza("dpkg", "arm64");
        let status = DpkgStatus::parse(&text);
        let names: Vec<String> =
            status.installed().map(|package| status.qualified_name(package)).collect();
        assert_eq!(names, ["dpkg", "libc6:amd64", "libc6"]);
    }

    #[test]
    fn of_two_stanzas_for_one_package_the_later_counts() {
        let text = "Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n\n\
                    Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 2\n\n\n\
                    garbage\n\nPackage: b\nStatus: install ok installed\nVersion:\n";
        let status = DpkgStatus::parse(text);
        let versions: Vec<_> = status.installed().map(|it| it.version.as_str()).collect();
        assert_eq!(versions, ["2"]);
    }
}
