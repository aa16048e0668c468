//! Debian's own repository, read without apt: signature → `InRelease` → `Packages` → package.
//!
//! Source of the formats: <https://wiki.debian.org/DebianRepository/Format>.

use std::collections::BTreeMap;
use std::io::Read as _;

use crate::config::Arch;
use crate::disk::{self, Format};
use crate::download::{Certificate, Client, Plain, signed_text, text};
use crate::util::error::{Context as _, Error, Result};
use crate::util::progress::Progress;
use crate::util::sha256::Sha256;

/// The keys that sign Debian 13, as the package debian-archive-keyring has them: of the archive, and of its
/// stable release. They expire in 2033 and 2035.
const KEYS: &[u8] = include_bytes!("keys/debian-13.asc");
/// What machines are made of.
const SUITE: &str = "trixie";
/// Where the repository is, unless [`VARIABLE`] says otherwise.
const MIRROR: &str = "http://deb.debian.org/debian";
/// Names another mirror of Debian.
const VARIABLE: &str = "NODEFORGE_DEBIAN_MIRROR";

/// The most bytes of `InRelease`, and of `Packages`, packed and unpacked.
const RELEASE_LIMIT: u64 = 4 << 20;
const LIST_LIMIT: u64 = 64 << 20;
const UNPACKED_LIMIT: u64 = 512 << 20;

/// A package of the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) name: String,
    pub(super) version: String,
    /// Names of packages that it needs, without versions; of alternatives the first.
    pub(super) needs: Vec<String>,
    pub(super) url: String,
    pub(super) sha256: Sha256,
}

/// All packages of an architecture, by name.
pub(super) struct DebianList {
    mirror: String,
    text: String,
}

impl DebianList {
    /// What the repository has today, signed by Debian.
    pub(super) fn fetch(client: &Client, arch: Arch, progress: &dyn Progress) -> Result<Self> {
        let mirror = std::env::var(VARIABLE).ok().filter(|it| !it.is_empty());
        let mirror = mirror.unwrap_or_else(|| MIRROR.into()).trim_end_matches('/').to_owned();
        let folder = format!("{mirror}/dists/{SUITE}");
        let fetch = |name: &str, limit: u64| -> Result<Vec<u8>> {
            client.get(&format!("{folder}/{name}"), Plain::Allowed, limit, progress)
        };
        let release = fetch("InRelease", RELEASE_LIMIT)?;
        let release = signed_text(&release, &Certificate::read_all(KEYS)?)
            .context(|| format!("`{folder}/InRelease` is not genuine"))?;
        let list = format!("main/binary-{}/Packages.xz", arch.name());
        let wanted = listed(&release, &list).ok_or_else(|| {
            Error::failure(format!("`{folder}/InRelease` does not list `{list}`"))
        })?;
        // By its hash: what stands under its name may be younger than `InRelease`.
        let by_hash = format!("main/binary-{}/by-hash/SHA256/{wanted}", arch.name());
        let packed = fetch(&by_hash, LIST_LIMIT)?;
        if Sha256::of(&packed) != wanted {
            return Err(Error::failure(format!("`{folder}/{list}` does not have its hash")));
        }
        let mut unpacked = Vec::new();
        disk::decoder(&*packed, Format::Xz)?
            .take(UNPACKED_LIMIT)
            .read_to_end(&mut unpacked)
            .context(|| format!("cannot unpack `{folder}/{list}`"))?;
        Ok(Self { mirror, text: text(&list, unpacked)? })
    }

    /// The package of that name.
    pub(super) fn find(&self, name: &str) -> Result<Offer> {
        let line = format!("Package: {name}");
        let stanza = self.text.split("\n\n").find(|it| it.lines().next() == Some(&line));
        stanza
            .and_then(|it| offer(it, &self.mirror))
            .ok_or_else(|| Error::failure(format!("`{}` has no package {name}", self.mirror)))
    }
}

/// The SHA-256 of a file that `Release` lists.
fn listed(release: &str, path: &str) -> Option<Sha256> {
    let mut lines = release.lines();
    lines.find(|line| *line == "SHA256:")?;
    lines.take_while(|line| line.starts_with(' ')).find_map(|line| {
        let mut words = line.split_whitespace();
        let (hash, name) = (words.next()?, words.nth(1)?);
        (name == path).then(|| hash.parse().ok())?
    })
}

fn offer(stanza: &str, mirror: &str) -> Option<Offer> {
    let fields: BTreeMap<&str, &str> =
        stanza.lines().filter_map(|line| line.split_once(": ")).collect();
    let needs = ["Pre-Depends", "Depends"].iter().filter_map(|it| fields.get(it));
    let needs = needs.flat_map(|it| it.split(',')).filter_map(|it| it.split_whitespace().next());
    Some(Offer {
        name: (*fields.get("Package")?).to_owned(),
        version: (*fields.get("Version")?).to_owned(),
        needs: needs.map(str::to_owned).collect(),
        url: format!("{mirror}/{}", fields.get("Filename")?),
        sha256: fields.get("SHA256")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_and_packages_are_read() {
        let (one, two) = (Sha256::of("1"), Sha256::of("2"));
        let release =
            format!("Suite: stable\r\nSHA256:\r\n {one}  12 main/a\r\n {two} 7 main/b\r\nX: y");
        assert_eq!(listed(&release, "main/b"), Some(two));
        assert_eq!(listed(&release, "main/c"), None);
        let list = DebianList {
            mirror: "http://m".into(),
            text: format!(
                "Package: a\nVersion: 1\nDepends: b (= 1) | c, d\nFilename: pool/a.deb\nSHA256: {one}\n\n\
                 Package: broken\nVersion: 1\n"
            ),
        };
        let found = list.find("a").unwrap();
        assert_eq!((found.url.as_str(), found.sha256), ("http://m/pool/a.deb", one));
        assert_eq!(found.needs, ["b", "d"]);
        assert!(list.find("broken").is_err());
    }

    #[test]
    fn debians_keys_can_be_read() {
        let all = Certificate::read_all(KEYS).unwrap();
        let prints: Vec<_> = all.iter().map(Certificate::fingerprint).collect();
        assert_eq!(
            prints,
            [
                "04B54C3CDCA79751B16BC6B5225629DF75B188BD",
                "41587F7DB8C774BCCF131416762F67A0B2C39DE4"
            ]
        );
    }
}
