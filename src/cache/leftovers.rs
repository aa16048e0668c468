//! What killed runs left in the cache.

use std::fs::{self, File};
use std::path::Path;

use crate::util::error::{Context as _, Result};
use crate::util::file_lock::FileLock;
use crate::util::progress::Progress;

/// Whether it is not locked.
pub(super) fn is_free(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(FileLock::try_exclusive(file), Ok(Some(_))))
}

/// Removes what killed runs left of images: of the key that we hold, and of all others that are not
/// being made.
pub(crate) fn sweep(parent: &Path, own_key: Option<&str>, progress: &dyn Progress) -> Result<()> {
    for entry in fs::read_dir(parent).context(|| format!("reading `{}`", parent.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((key, _)) = name.strip_prefix('.').and_then(|name| name.split_once('.')) else {
            continue;
        };
        if !entry.file_type()?.is_dir() {
            continue;
        }
        // The holder of the key may have made the folder and not locked it yet.
        let keys_lock = parent.join(format!(".{key}.lock"));
        if (own_key == Some(key) || is_free(&keys_lock)) && is_free(&entry.path()) {
            // A dead run's leftovers cost room and do no other harm.
            drop(remove(&entry.path(), progress));
        }
    }
    Ok(())
}

/// Removes a folder that a sandbox worked in. Where the machine wants to stop, the next run does.
#[cfg(target_os = "linux")]
pub(crate) fn remove(folder: &Path, progress: &dyn Progress) -> Result<()> {
    if crate::util::interrupt::is_hurried() {
        return Ok(());
    }
    crate::sandbox::remove_folder(folder, progress)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn remove(folder: &Path, _progress: &dyn Progress) -> Result<()> {
    match crate::util::remove_tree::remove_tree(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(|| format!("removing `{}`", folder.display()))
        }
        _ => Ok(()),
    }
}
