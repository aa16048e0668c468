//! Packages as an earlier build found them: the same versions again, from the same files.

use crate::cache::Package;
use crate::util::error::{Error, Result};

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
