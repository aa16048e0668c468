//! What binds whatever a lock file says: the cluster file, and the catalogue's entry that it names. A lock
//! file adds to that, by saying which release it was and what it hashes to, and changes nothing of it.

use std::path::Path;

use super::catalogue::{Catalogue, CatalogueEntry};
use super::lock_file::{LockFile, LockedBase};
use super::provenance::Provenance;
use super::remote::{self, BY_CATALOGUE, BY_CLUSTER_FILE, BY_LOCK, NamedKey};
use crate::config::Base;
use crate::download::Hashes;
use crate::util::error::Result;
use crate::util::sha256::Sha256;

/// What a lock file pins of the base that the cluster file asks for; `None` when it pins nothing of it. One
/// that says anything else than the cluster file or the catalogue is an error.
pub fn pinned<'a>(
    file: &'a LockFile,
    base: &Base,
    catalogue: &Catalogue,
    directory: &Path,
) -> Result<Option<&'a LockedBase>> {
    let request = request(base, directory);
    let Some(known) = file.lock.base.as_ref().filter(|it| it.request == request) else {
        return Ok(None);
    };
    let is_remote = matches!(base, Base::Catalogue(_) | Base::Url { .. });
    // A lock that lost its address or its hashes pins nothing.
    if is_remote && (known.url.is_none() || known.hashes().is_empty()) {
        return Ok(None);
    }
    match contradiction(base, known, catalogue, directory)? {
        Some(why) => Err(file.contradicts(&why)),
        None => Ok(Some(known)),
    }
}

/// What a lock file says that the cluster file or the catalogue says otherwise.
fn contradiction(
    base: &Base,
    known: &LockedBase,
    catalogue: &Catalogue,
    directory: &Path,
) -> Result<Option<String>> {
    let said = known.url.as_deref().unwrap_or_default();
    match base {
        Base::Url { url, key, .. } => {
            if said != url {
                return Ok(Some(format!("it names `{said}`, and {BY_CLUSTER_FILE} `{url}`")));
            }
            let keys = key.as_deref().map(|key| NamedKey::new(key, directory, catalogue));
            let keys = keys.transpose()?.map(|key| key.fingerprints());
            Ok(other_hash(known, &hashes(base, catalogue)?, BY_CLUSTER_FILE)
                .or_else(|| other_signer(known, keys.as_deref(), BY_CLUSTER_FILE)))
        }
        Base::Catalogue(name) => {
            let (name, date) = split(name);
            let entry = catalogue.entry(name)?;
            let Some(release) = entry.release_at(said, date) else {
                let name = base.name();
                return Ok(Some(format!(
                    "it names `{said}`, and {BY_CATALOGUE} has no `{name}` there"
                )));
            };
            if release.date.is_some() && release.date != known.date {
                let date = known.date.as_deref().unwrap_or("no date");
                return Ok(Some(format!("it says that `{said}` is the release of {date}")));
            }
            let keys = entry.is_signed().then_some(release.keys.as_slice());
            Ok(other_hash(known, &hashes(base, catalogue)?, BY_CATALOGUE)
                .or_else(|| other_signer(known, keys, BY_CATALOGUE)))
        }
        Base::Path { .. } | Base::Bootstrap(_) => Ok(None),
    }
}

fn other_hash(known: &LockedBase, bound: &Hashes, by: &str) -> Option<String> {
    let sha256 = bound.sha256.zip(known.sha256).filter(|(bound, known)| bound != known);
    let sha256 = sha256.map(|(bound, known)| ("SHA-256", bound.to_string(), known.to_string()));
    let sha512 = bound.sha512.clone().zip(known.sha512.clone());
    let sha512 = sha512.filter(|(bound, known)| bound != known);
    let sha512 = sha512.map(|(bound, known)| ("SHA-512", bound, known));
    let (kind, bound, known) = sha256.or(sha512)?;
    Some(format!("it pins the {kind} {known}, and {by} {bound}"))
}

fn other_signer(known: &LockedBase, keys: Option<&[String]>, by: &str) -> Option<String> {
    let (keys, signer) = keys.zip(known.signer.as_ref())?;
    (!keys.contains(signer))
        .then(|| format!("it says that {signer} signed it, and {by} {}", keys.join(" or ")))
}

/// The hashes that a base must have, whatever anybody else says.
pub(super) fn hashes(base: &Base, catalogue: &Catalogue) -> Result<Hashes> {
    Ok(match base {
        Base::Url { sha256, sha512, .. } => Hashes { sha256: *sha256, sha512: sha512.clone() },
        Base::Catalogue(name) => {
            Hashes { sha256: catalogue.entry(split(name).0)?.sha256(), sha512: None }
        }
        Base::Path { .. } | Base::Bootstrap(_) => Hashes::default(),
    })
}

/// Whether a signature must vouch for a base.
pub(super) fn is_signed(base: &Base, catalogue: &Catalogue) -> bool {
    match base {
        Base::Url { key, .. } => key.is_some(),
        Base::Catalogue(name) => {
            catalogue.entry(split(name).0).is_ok_and(CatalogueEntry::is_signed)
        }
        Base::Path { .. } | Base::Bootstrap(_) => false,
    }
}

/// What vouches for a download that a lock file pins too: what would without it, and the lock file for the
/// hashes that nothing else pins.
pub(super) fn words(
    base: &Base,
    catalogue: &Catalogue,
    known: &LockedBase,
    from: &Provenance,
) -> Result<String> {
    let bound = hashes(base, catalogue)?;
    let words = match base {
        Base::Url { key, .. } => {
            let signer = from.signer.as_deref().filter(|_| key.is_some());
            remote::words(&bound, BY_CLUSTER_FILE, signer)
        }
        Base::Catalogue(_) if is_signed(base, catalogue) => from.verified.clone(),
        Base::Catalogue(_) => remote::words(&bound, BY_CATALOGUE, None),
        Base::Path { .. } | Base::Bootstrap(_) => String::new(),
    };
    let added = Hashes {
        sha256: known.sha256.filter(|_| bound.sha256.is_none()),
        sha512: known.sha512.clone().filter(|_| bound.sha512.is_none()),
    };
    let added = remote::words(&added, BY_LOCK, None);
    let all: Vec<_> = [words, added].into_iter().filter(|it| !it.is_empty()).collect();
    Ok(all.join(" and "))
}

/// An image's name in the catalogue, and its date where one is named: `NAME@DATE`.
pub(super) fn split(name: &str) -> (&str, Option<&str>) {
    name.split_once('@').map_or((name, None), |(name, date)| (name, Some(date)))
}

/// What a cluster file asks for, in one line that changes when it asks for another base.
pub fn request(base: &Base, directory: &Path) -> String {
    match base {
        Base::Catalogue(name) => format!("image {name}"),
        Base::Path { path, .. } => {
            let path = path.strip_prefix(directory).unwrap_or(path);
            format!("path {}", path.display())
        }
        Base::Url { url, sha256, sha512, signature, key, .. } => {
            let sha256 = &sha256.as_ref().map(Sha256::to_string);
            let pins =
                [("sha256", sha256), ("sha512", sha512), ("signature", signature), ("key", key)];
            let pins =
                pins.into_iter().filter_map(|(name, it)| Some(format!(" {name} {}", it.as_ref()?)));
            format!("url {url}{}", pins.collect::<String>())
        }
        Base::Bootstrap(it) => {
            let mirror = it.mirror.as_ref().map_or_else(String::new, |it| format!(" from {it}"));
            format!("bootstrap {} {} {:?}{mirror}", it.suite, it.arch.name(), it.layout)
        }
    }
}
