//! Packages as an earlier build found them: the same versions again, from the same files.

use std::collections::BTreeSet;
use std::path::Path;

use super::apt::ARCHIVES;
use crate::cache::Package;
use crate::disk::sha256_of_file;
use crate::util::error::{Error, Result};

/// Where the packages' .deb files will be in the root, when all of them are in `archives` and are
/// what they were.
pub(crate) fn files(locked: &[Package], archives: &Path) -> Result<Option<Vec<String>>> {
    let mut files = Vec::new();
    for package in locked {
        let name = package.file_name();
        let path = archives.join(&name);
        if !path.is_file() || Some(sha256_of_file(&path)?) != package.sha256 {
            return Ok(None);
        }
        files.push(format!("{ARCHIVES}/{name}"));
    }
    Ok(Some(files))
}

/// Notes the hashes of packages that were not there before.
pub(crate) fn add_hashes(after: &mut [Package], before: &[Package], archives: &Path) -> Result<()> {
    let before: BTreeSet<&Package> = before.iter().collect();
    for package in after {
        let path = archives.join(package.file_name());
        if !before.contains(package) && path.is_file() {
            package.sha256 = Some(sha256_of_file(&path)?);
        }
    }
    Ok(())
}

/// Fails unless what was installed is what is locked.
pub(crate) fn check(installed: &[Package], locked: &[Package]) -> Result<()> {
    for wanted in locked {
        let is_there = installed.iter().any(|it| {
            it.is(wanted) && it.sha256.as_ref().is_none_or(|_| it.sha256 == wanted.sha256)
        });
        if !is_there {
            return Err(Error::failure(format!(
                "the package {} is not the one that nodeforge.lock pins: version {}, SHA-256 {}",
                wanted.name,
                wanted.version,
                wanted.sha256.map_or_else(|| "unknown".to_owned(), |hash| hash.to_string())
            ))
            .hint("`nodeforge lock --update` moves on to what the repositories have now"));
        }
    }
    Ok(())
}

/// What `--offline` has to say when packages are missing.
pub(crate) fn not_cached(locked: &[Package]) -> Error {
    let error = Error::failure("the cache does not have every package that is to be installed");
    if locked.is_empty() {
        error.hint(
            "nodeforge.lock does not say which: it is written by preparing without `--offline`",
        )
    } else {
        error.hint("without `--offline` they are fetched")
    }
}
