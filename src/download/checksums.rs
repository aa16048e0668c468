//! What a download must be: hashes that a user pinned or a publisher lists.

use std::fmt::Display;

use sha2::{Digest as _, Sha512};

use crate::util::error::{Error, Result};
use crate::util::hex::hex;
use crate::util::sha256::Sha256;

/// What a file must hash to; SHA-512 in lower-case hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hashes {
    pub(crate) sha256: Option<Sha256>,
    pub(crate) sha512: Option<String>,
}

impl Hashes {
    pub(crate) fn is_empty(&self) -> bool {
        self.sha256.is_none() && self.sha512.is_none()
    }

    /// Takes over what it lacks; what both have must be the same.
    pub(crate) fn merge(&mut self, other: Self, whose: &str) -> Result<()> {
        merge_one(&mut self.sha256, other.sha256, whose)?;
        merge_one(&mut self.sha512, other.sha512, whose)
    }
}

/// What a file hashes to; SHA-512 where it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundHashes {
    pub(crate) sha256: Sha256,
    pub(crate) sha512: Option<String>,
}

/// Hashes a stream as it passes.
pub(crate) struct Hasher {
    sha256: sha2::Sha256,
    sha512: Option<Sha512>,
}

impl Hasher {
    /// SHA-256 always: the lock and the manifest want it.
    pub(crate) fn new(with_sha512: bool) -> Self {
        Self { sha256: sha2::Sha256::new(), sha512: with_sha512.then(Sha512::new) }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
    }

    pub(crate) fn finish(self) -> FoundHashes {
        FoundHashes {
            sha256: Sha256::finish(self.sha256),
            sha512: self.sha512.map(|it| hex(&it.finalize())),
        }
    }
}

impl Hashes {
    /// Fails unless every hash that is expected was found.
    pub(crate) fn check(&self, found: &FoundHashes, what: &str) -> Result<()> {
        check_one("SHA-256", self.sha256.as_ref(), Some(&found.sha256), what)?;
        check_one("SHA-512", self.sha512.as_ref(), found.sha512.as_ref(), what)
    }
}

fn merge_one<T: PartialEq + Display>(
    own: &mut Option<T>,
    other: Option<T>,
    whose: &str,
) -> Result<()> {
    match (&own, other) {
        (Some(own), Some(other)) if *own != other => {
            Err(Error::failure(format!("{whose} says {other}, pinned is {own}"))
                .hint("the publisher has replaced the file, or someone has tampered with it"))
        }
        (Some(_), _) => Ok(()),
        (None, other) => {
            *own = other;
            Ok(())
        }
    }
}

fn check_one<T: PartialEq + Display>(
    name: &str,
    expected: Option<&T>,
    found: Option<&T>,
    what: &str,
) -> Result<()> {
    let Some(expected) = expected.filter(|expected| found != Some(*expected)) else {
        return Ok(());
    };
    let found = found.map_or_else(|| "unknown".to_owned(), T::to_string);
    Err(Error::failure(format!(
        "`{what}` is not what it should be: its {name} is {found}, expected is {expected}"
    )))
}

/// The hashes that a list has of the file at `place`, an address or a path.
///
/// The lines are those of sha256sum(1) and sha512sum(1), `HASH  NAME`, `HASH *NAME` or with a tab; of their BSD
/// form, `SHA256 (NAME) = HASH`; or of openssl-dgst(1), `SHA256(NAME)= HASH`. A `.sha256` file beside an image may
/// hold nothing but the hash, with or without the `-` or `stdin` of a program that read a pipe.
pub(crate) fn find(text: &str, place: &str) -> Option<Hashes> {
    let lines: Vec<Listed> = text.trim_start_matches('\u{feff}').lines().filter_map(line).collect();
    // The publisher may have hashed it in another folder; of several the one that fits best is meant.
    let best = lines.iter().filter_map(|it| it.fits(place)).max();
    if let Some(best) = best {
        let mut found = Hashes::default();
        for listed in lines.iter().filter(|it| it.fits(place) == Some(best)) {
            // Two that fit as well, with different hashes, say nothing.
            found.merge(listed.hashes.clone(), "it").ok()?;
        }
        return Some(found);
    }
    match lines.as_slice() {
        [Listed { name: None, hashes }] => Some(hashes.clone()),
        _ => None,
    }
}

/// A line of a list.
struct Listed {
    /// `None` where what was hashed had no name.
    name: Option<String>,
    hashes: Hashes,
}

impl Listed {
    /// How well it fits a place that ends in the same name: whether all of its folders are there, and how many
    /// are.
    fn fits(&self, place: &str) -> Option<(bool, usize)> {
        let name = self.name.as_deref()?.trim_start_matches("./");
        let parts = || name.rsplit('/');
        let same = parts().zip(place.rsplit('/')).take_while(|(one, other)| one == other).count();
        (same > 0).then(|| (same == parts().count(), same))
    }
}

/// What a line says; `None` when it names no hash of a kind that is good enough.
fn line(line: &str) -> Option<Listed> {
    let line = line.trim_end();
    // A name with a line break or a backslash in it is escaped, and marked by one (coreutils).
    let (line, is_escaped) = line.strip_prefix('\\').map_or((line, false), |it| (it, true));
    let (hash, name) = tagged(line).unwrap_or_else(|| coreutils(line));
    let name = name.filter(|it| !matches!(*it, "" | "-" | "stdin"));
    let name = name.map(|it| {
        if is_escaped { it.replace("\\n", "\n").replace("\\\\", "\\") } else { it.to_owned() }
    });
    Some(Listed { name, hashes: of_length(hash)? })
}

/// `HASH  NAME`, `HASH *NAME`, `HASH<tab>NAME`, `HASH`.
fn coreutils(line: &str) -> (&str, Option<&str>) {
    let Some((hash, rest)) = line.split_once([' ', '\t']) else { return (line, None) };
    (hash, Some(rest.strip_prefix('*').unwrap_or_else(|| rest.trim_start())))
}

/// `SHA256 (NAME) = HASH`, `SHA256(NAME)= HASH`, `SHA2-256(NAME)= HASH`, `(NAME)= HASH`.
fn tagged(line: &str) -> Option<(&str, Option<&str>)> {
    let (kind, rest) = line.split_once('(')?;
    let is_known = matches!(kind.trim_end(), "" | "SHA256" | "SHA512" | "SHA2-256" | "SHA2-512");
    let (name, hash) = rest.rsplit_once(')').filter(|_| is_known)?;
    let hash = hash.trim_start().strip_prefix('=')?;
    Some((hash.trim_start(), Some(name)))
}

fn of_length(hash: &str) -> Option<Hashes> {
    if let Ok(hash) = hash.parse() {
        return Some(Hashes { sha256: Some(hash), sha512: None });
    }
    let is_sha512 = hash.len() == 128 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_sha512.then(|| Hashes { sha256: None, sha512: Some(hash.to_ascii_lowercase()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::process::Tool;

    #[test]
    fn lines_of_the_real_tools_are_understood() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a b.img");
        std::fs::write(&path, "hello").unwrap();
        let mut hasher = Hasher::new(true);
        hasher.update(b"hello");
        let own = hasher.finish();
        for (tool, arguments) in [
            ("sha256sum", &[][..]),
            ("sha256sum", &["--binary"]),
            ("sha256sum", &["--tag"]),
            ("sha512sum", &[]),
            ("sha512sum", &["--tag"]),
            ("openssl", &["dgst", "-sha256"]),
            ("openssl", &["dgst", "-sha512"]),
            ("openssl", &["dgst", "-r", "-sha256"]),
        ] {
            let said = Tool::new(tool, tool).args(arguments).arg(&path).run().unwrap();
            let text = format!("{}  other\n\n{said}", "0".repeat(64));
            let found = find(&text, "https://h/a b.img").unwrap_or_else(|| panic!("{said}"));
            found.check(&own, "it").unwrap();
        }
        // What was piped has no name.
        for (tool, arguments) in [("sha256sum", &[][..]), ("openssl", &["dgst", "-sha256"])] {
            let script = format!("{tool} {} < \"$1\"", arguments.join(" "));
            let said =
                Tool::new("sh", "dash").args(["-c", &script, "sh"]).arg(&path).run().unwrap();
            let found = find(&said, "https://h/x.img").unwrap_or_else(|| panic!("{said}"));
            found.check(&own, "it").unwrap();
        }
    }

    #[test]
    fn of_several_folders_the_one_that_fits_is_meant() {
        let hash = |digit: &str| digit.repeat(64);
        let list = format!(
            "{}  old/disk.img\n{}\t./amd64/disk.img\r\n{} *arm64/disk.img\nSHA256(disk.img)= {}\n",
            hash("a"),
            hash("b"),
            hash("C"),
            hash("d")
        );
        let found = |place| Some(find(&list, place)?.sha256?.to_string());
        assert_eq!(found("https://h/1/amd64/disk.img"), Some(hash("b")));
        assert_eq!(found("https://h/1/arm64/disk.img"), Some(hash("c")));
        assert_eq!(found("https://h/1/disk.img"), Some(hash("d")));
        assert_eq!(found("https://h/1/other.img"), None);
        // Neither folder fits, and the hashes differ.
        let two = format!("{}  a/disk.img\n{}  b/disk.img\n", hash("a"), hash("b"));
        assert_eq!(find(&two, "https://h/c/disk.img"), None);
        let same = format!("{}  a/disk.img\n{}  b/disk.img\n", hash("a"), hash("a"));
        assert!(find(&same, "https://h/c/disk.img").is_some());
        assert!(find(&format!("{}  -\n", hash("a")), "https://h/disk.img").is_some());
        assert!(find(&format!("{}  -\n{}  -\n", hash("a"), hash("a")), "https://h/d").is_none());
    }

    #[test]
    fn a_name_must_match_unless_there_is_none() {
        let hash = "a".repeat(64);
        assert!(find(&format!("{hash}  other.img\n"), "it.img").is_none());
        assert!(find(&format!("{hash}  not-it.img\n"), "it.img").is_none());
        assert!(find(&format!("{hash}\n"), "it.img").is_some());
        assert!(find(&format!("{hash}\n{hash}\n"), "it.img").is_none());
        assert!(find("<html>\n", "it.img").is_none());
        assert!(find("", "it.img").is_none());
    }

    #[test]
    fn pinned_and_published_hashes_must_agree() {
        let hash = |text| Sha256::of(text);
        let one = |text| Hashes { sha256: Some(hash(text)), sha512: None };
        let found = |text| FoundHashes { sha256: hash(text), sha512: None };
        let mut pinned = one("a");
        pinned.merge(one("a"), "the publisher").unwrap();
        assert!(pinned.merge(one("b"), "the publisher").is_err());
        assert!(pinned.check(&found("b"), "it").is_err());
        pinned.check(&found("a"), "it").unwrap();
    }
}
