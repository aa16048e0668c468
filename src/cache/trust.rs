//! Who could have written what the cache holds.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::util::error::{Context as _, Error, Result};
use crate::util::new_files::behind_sudo;

/// The bits of a mode that let its group and everybody write.
const GROUP: u32 = 0o020;
const ALL: u32 = 0o002;

/// What is there; `None` when nothing is. Any other error stays one.
pub(super) fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(it) => Ok(Some(it)),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// As root: fails when another user can write a file or a folder of the cache, as sshd's `StrictModes` does.
/// Whoever can, can have root mount, run and hand out whatever they like: what images hash to is written
/// beside them. What is not there is nobody's. The user behind sudo asked for what is done, and could have
/// asked root for anything else.
pub(super) fn require_own(path: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let found = present(fs::metadata(path)).context(|| format!("reading `{}`", path.display()))?;
    let Some(found) = found else { return Ok(()) };
    let user = behind_sudo();
    // As login's USERGROUPS_ENAB: nobody else is in a group with the user's own number.
    let is_private = |gid| gid == 0 || user.is_some_and(|it| it.uid == gid && it.gid == gid);
    let who = match () {
        () if found.uid() != 0 && user.is_none_or(|it| it.uid != found.uid()) => {
            format!("user {}", found.uid())
        }
        () if found.mode() & ALL != 0 => "every user".to_owned(),
        // The group of root is root's.
        () if found.mode() & GROUP != 0 && !is_private(found.gid()) => {
            format!("group {}", found.gid())
        }
        () => return Ok(()),
    };
    Err(Error::failure(format!(
        "`{}` in the cache can be written by {who}: root cannot rely on it",
        path.display()
    ))
    .hint("XDG_CACHE_HOME can point root to a folder of its own"))
}
