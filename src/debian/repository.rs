//! Debian's own repository, read without apt: signature → `InRelease` → `Packages` → package.
//!
//! Source of the formats: <https://wiki.debian.org/DebianRepository/Format>.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Read as _;
use std::time::{SystemTime, UNIX_EPOCH};

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
    /// When Debian made it, in seconds since 1970.
    pub(super) date: u64,
}

impl DebianList {
    /// What the repository has today, signed by Debian. `seen` is the date of the newest list seen before:
    /// an older one is what somebody kept, with the holes that were found since.
    pub(super) fn fetch(
        client: &Client,
        arch: Arch,
        seen: u64,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let mirror = std::env::var(VARIABLE).ok().filter(|it| !it.is_empty());
        let mirror = mirror.unwrap_or_else(|| MIRROR.into()).trim_end_matches('/').to_owned();
        let folder = format!("{mirror}/dists/{SUITE}");
        let fetch = |name: &str, limit: u64| -> Result<Vec<u8>> {
            client.get(&format!("{folder}/{name}"), Plain::Allowed, limit, progress)
        };
        let release = fetch("InRelease", RELEASE_LIMIT)?;
        let release = signed_text(&release, &Certificate::read_all(KEYS)?)
            .context(|| format!("`{folder}/InRelease` is not genuine"))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let date = date(&release, seen, now)
            .context(|| format!("`{folder}/InRelease` is not of {SUITE} as it is today"))?;
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
        Ok(Self { mirror, text: text(&list, unpacked)?, date })
    }

    /// The package of that name.
    pub(super) fn find(&self, name: &str) -> Result<Offer> {
        let line = format!("Package: {name}");
        let stanza = self.text.split("\n\n").find(|it| it.lines().next() == Some(&line));
        stanza.and_then(|it| offer(it, &self.mirror)).ok_or_else(|| self.lacks(name))
    }

    /// Packages and all that they need, in the order in which they are named. Of alternatives the first
    /// counts; a name that is no package's own is what others provide, and is not looked for.
    pub(super) fn with_needs(&self, names: &[&str]) -> Result<Vec<Offer>> {
        let stanzas: BTreeMap<&str, &str> = (self.text.split("\n\n"))
            .filter_map(|it| Some((it.lines().next()?.strip_prefix("Package: ")?, it)))
            .collect();
        let mut wanted: VecDeque<String> = names.iter().map(|&it| it.to_owned()).collect();
        let mut offers: Vec<Offer> = Vec::new();
        let mut seen = BTreeSet::new();
        while let Some(name) = wanted.pop_front() {
            let is_asked_for = names.contains(&&*name);
            if !seen.insert(name.clone()) {
                continue;
            }
            let stanza = stanzas.get(&*name);
            match stanza.and_then(|it| offer(it, &self.mirror)) {
                Some(offer) => {
                    // `perl:any` is perl.
                    let needs = offer.needs.iter().filter_map(|it| it.split(':').next());
                    wanted.extend(needs.map(str::to_owned));
                    offers.push(offer);
                }
                None if stanza.is_some() || is_asked_for => return Err(self.lacks(&name)),
                None => {}
            }
        }
        Ok(offers)
    }

    fn lacks(&self, name: &str) -> Error {
        Error::failure(format!("`{}` has no package {name}", self.mirror))
    }
}

/// When a `Release` was made, if it is of [`SUITE`], still valid at `now`, and not older than `seen`.
fn date(release: &str, seen: u64, now: u64) -> Result<u64> {
    let field = |name: &str| {
        // Fields with several lines come last, and their lines begin with a blank.
        release.lines().find_map(|it| it.split_once(": ").filter(|it| it.0 == name)).map(|it| it.1)
    };
    let codename = field("Codename").unwrap_or_default();
    if codename != SUITE {
        return Err(Error::failure(format!("it is of `{codename}`")));
    }
    let time = |name: &str| field(name).map(|it| (it, seconds(it)));
    let (text, Some(made)) = time("Date").unwrap_or_default() else {
        return Err(Error::failure("it does not say when it was made"));
    };
    if made < seen {
        return Err(Error::failure(format!("it is of {text}, and a newer one was seen before")));
    }
    match time("Valid-Until") {
        Some((text, end)) if end.is_none_or(|end| end < now) => {
            Err(Error::failure(format!("it was valid until {text}")))
        }
        _ => Ok(made),
    }
}

/// Seconds since 1970 of `Sat, 15 Nov 2025 10:02:27 UTC`.
fn seconds(text: &str) -> Option<u64> {
    let text = text.strip_suffix(" UTC").or(text.strip_suffix(" +0000"))?;
    let time = httpdate::parse_http_date(&format!("{text} GMT")).ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
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
            date: 0,
            text: format!(
                "Package: a\nVersion: 1\nDepends: b (= 1) | c, d\nFilename: pool/a.deb\nSHA256: {one}\n\n\
                 Package: broken\nVersion: 1\n"
            ),
        };
        let found = list.find("a").unwrap();
        assert_eq!((found.url.as_str(), found.sha256), ("http://m/pool/a.deb", one));
        assert_eq!(found.needs, ["b", "d"]);
        assert!(list.find("broken").is_err());
        let names = |it: Vec<Offer>| it.into_iter().map(|it| it.name).collect::<Vec<_>>();
        assert_eq!(names(list.with_needs(&["a"]).unwrap()), ["a"]);
        assert!(list.with_needs(&["a", "d"]).is_err());
    }

    #[test]
    fn a_release_is_of_its_suite_and_time() {
        // 2025-11-15 10:02:27 UTC
        const MADE: u64 = 1_763_200_947;
        let made = "Date: Sat, 15 Nov 2025 10:02:27 UTC\r\n";
        let until = "Valid-Until: Sat, 22 Nov 2025 10:02:27 UTC\r\n";
        let of = |fields: &str, seen: u64, now: u64| {
            let done = date(&format!("Origin: Debian\r\n{fields}SHA256:\r\n"), seen, now);
            done.map_err(|it| it.problems()[0].message.clone())
        };
        let (trixie, later) = ("Codename: trixie\r\n", MADE + 8 * 24 * 60 * 60);
        assert_eq!(of(&format!("{trixie}{made}"), MADE, later), Ok(MADE));
        assert_eq!(of(&format!("{trixie}{made}{until}"), 0, MADE), Ok(MADE));
        let fails = [
            (format!("Codename: forky\r\n{made}"), 0, "it is of `forky`"),
            (made.to_owned(), 0, "it is of ``"),
            (trixie.to_owned(), 0, "it does not say when it was made"),
            (format!("{trixie}Date: today\r\n"), 0, "it does not say when it was made"),
            (
                format!("{trixie}{made}"),
                MADE + 1,
                "it is of Sat, 15 Nov 2025 10:02:27 UTC, and a newer one was seen before",
            ),
            (
                format!("{trixie}{made}{until}"),
                0,
                "it was valid until Sat, 22 Nov 2025 10:02:27 UTC",
            ),
            (format!("{trixie}{made}Valid-Until: soon\r\n"), 0, "it was valid until soon"),
        ];
        for (fields, seen, said) in fails {
            assert_eq!(of(&fields, seen, later), Err(said.to_owned()), "{fields}");
        }
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
