//! Single files in the cache, under their SHA-256.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::blobs::FILES;
use super::store::{Cache, NEW, lock, touch};
use super::trust;
use crate::disk::{Raw, sha256_of_disk};
use crate::util::error::{Context as _, Result};
use crate::util::file_lock::FileLock;
use crate::util::new_files;
use crate::util::progress::Progress;
use crate::util::room::{self, FolderUse};
use crate::util::sha256::Sha256;

impl Cache {
    /// Whether there is a file under this SHA-256, whatever state it is in: [`Cache::file`] looks.
    pub(crate) fn may_have_file(&self, sha256: Sha256) -> Result<bool> {
        Ok(self.folder(FILES)?.join(sha256.to_string()).exists())
    }

    /// The file under its SHA-256, locked for everybody who uses it; `make` is called when it is
    /// not there or damaged, with the path where it has to be, and answers for the hash of what it
    /// makes. It appears whole, made by one of several processes that want it.
    pub(crate) fn file(
        &self,
        sha256: Sha256,
        progress: &dyn Progress,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<(PathBuf, Arc<FileLock>)> {
        let parent = self.folder(FILES)?;
        let name = sha256.to_string();
        let place = parent.join(&name);
        let find = || -> Result<_> {
            let context = || format!("reading `{}`", place.display());
            let Some(file) = trust::present(File::open(&place)).context(context)? else {
                return Ok(None);
            };
            let copy = file.try_clone().context(context)?;
            let Some(lock) = FileLock::try_shared(copy).context(context)? else { return Ok(None) };
            // It may have been pruned before it was locked.
            if trust::present(fs::metadata(&place)).context(context)?.is_none() {
                return Ok(None);
            }
            trust::require_own(&place)?;
            let is_good = sha256_of_disk(&Raw::from_file(file, false)?).context(context)? == sha256;
            if !self.is_read_only() {
                touch(&place);
            }
            Ok(is_good.then(|| (place.clone(), Arc::new(lock))))
        };
        if let Some(found) = find()? {
            return Ok(found);
        }
        self.require_writable()?;
        let _lock = lock(&parent, &name, progress)?;
        if let Some(found) = find()? {
            return Ok(found);
        }
        if place.exists() {
            progress.warn(&format!("`{}` is damaged and is fetched again", place.display()));
        }
        let new = parent.join(format!(".{name}.{NEW}"));
        let publish = || {
            let file = new_files::open_no_link(&new)?;
            file.sync_all()?;
            new_files::give(&file);
            let in_use = FileLock::shared(file)?;
            fs::rename(&new, &place)?;
            io::Result::Ok(in_use)
        };
        let made = make(&new)
            .and_then(|()| publish().context(|| format!("moving a file to `{}`", place.display())));
        let in_use = made.map_err(|error| {
            let error = room::explain(error, &parent, FolderUse::Cache, None);
            // The first error is the news.
            drop(fs::remove_file(&new));
            error
        })?;
        self.keep_to_limit(progress)?;
        Ok((place, Arc::new(in_use)))
    }
}
