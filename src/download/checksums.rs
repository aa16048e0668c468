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

/// A file's hash in the lines of sha256sum(1) or sha512sum(1): `HASH  NAME`, `HASH *NAME`, or the
/// BSD form `SHA256 (NAME) = HASH`. A `.sha256` file beside an image may hold nothing but the hash.
pub(crate) fn find(text: &str, name: &str) -> Option<Hashes> {
    let mut lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
    let listed = lines.clone().find_map(|line| {
        let (hash, listed) = bsd_line(line).or_else(|| coreutils_line(line))?;
        let listed = listed.strip_prefix("./").unwrap_or(listed);
        // The publisher may have hashed it in another folder.
        let is_it = listed == name || listed.rsplit('/').next() == Some(name);
        is_it.then(|| of_length(hash)).flatten()
    });
    listed.or_else(|| {
        let only = lines.next().filter(|_| lines.next().is_none())?;
        of_length(only)
    })
}

fn coreutils_line(line: &str) -> Option<(&str, &str)> {
    let (hash, rest) = line.split_once(' ')?;
    let name = rest.strip_prefix([' ', '*']).unwrap_or(rest);
    Some((hash, name))
}

fn bsd_line(line: &str) -> Option<(&str, &str)> {
    let rest = line.strip_prefix("SHA256 (").or_else(|| line.strip_prefix("SHA512 ("))?;
    let (name, hash) = rest.rsplit_once(") = ")?;
    Some((hash, name))
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
        ] {
            let said = Tool::new(tool, "coreutils").args(arguments).arg(&path).run().unwrap();
            let text = format!("{}  other\n\n{said}", "0".repeat(64));
            let found = find(&text, "a b.img").unwrap_or_else(|| panic!("{said}"));
            found.check(&own, "it").unwrap();
        }
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
