//! A template's files under second names, for as long as `vmrun` deletes a clone of it.
//!
//! A `vmrun` that does not see that a machine is a clone would delete the disks it reads, which are
//! the template's. That cannot be prevented, only undone.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use crate::util::error::{Context, Result};
use crate::util::new_files::{self, behind_sudo};

/// A link to the bundle whose files are beside it.
const OF: &str = "of";
/// The folder of the second names.
const FILES: &str = "files";

/// Hard links to all files of a bundle.
pub struct TemplateBackup {
    folder: PathBuf,
}

impl TemplateBackup {
    /// Backs the files of `bundle` up in a new folder, which lies in the output folder.
    pub fn make(bundle: &Path, folder: &Path) -> Result<Self> {
        let back_up = || {
            let files = folder.join(FILES);
            new_files::create_dir_all(&files)?;
            for entry in fs::read_dir(bundle)? {
                let entry = entry?;
                if entry.file_type()?.is_file() {
                    fs::hard_link(entry.path(), files.join(entry.file_name()))?;
                }
            }
            // The output folder may be moved before the files are restored.
            let (bundle, folder) = (bundle.canonicalize()?, folder.canonicalize()?);
            let name = folder.parent().and_then(|output| bundle.strip_prefix(output).ok());
            let name = name.ok_or_else(|| io::Error::other("it is not in the output folder"))?;
            symlink(Path::new("..").join(name), folder.join(OF))?;
            new_files::give_path(&folder.join(OF));
            io::Result::Ok(())
        };
        back_up().context(|| format!("cannot back up the files of `{}`", bundle.display()))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// The backup that a killed run of this user left in `folder`; `None` when there is none that is
    /// complete. Whoever handed out the output folder may have made it: what it would restore lies in
    /// that folder, and no link leads elsewhere.
    pub fn left_in(folder: &Path) -> Option<Self> {
        let own = [Some(rustix::process::geteuid().as_raw()), behind_sudo().map(|it| it.uid)];
        let is_own =
            |path: &Path| fs::symlink_metadata(path).is_ok_and(|it| own.contains(&Some(it.uid())));
        let is_whole = [folder, &folder.join(FILES), &folder.join(OF)].into_iter().all(is_own);
        let target = fs::read_link(folder.join(OF)).ok()?;
        let mut parts = target.components();
        let is_beside = parts.next() == Some(Component::ParentDir)
            && matches!(parts.next(), Some(Component::Normal(_)))
            && parts.next().is_none();
        let is_folder = |path: &Path| fs::symlink_metadata(path).is_ok_and(|it| it.is_dir());
        let bundle = folder.join(&target);
        let is_in_place = is_folder(&bundle) || fs::symlink_metadata(&bundle).is_err();
        let is_plain = is_folder(folder) && is_folder(&folder.join(FILES));
        (is_whole && is_beside && is_in_place && is_plain)
            .then(|| Self { folder: folder.to_owned() })
    }

    /// Restores what is gone; returns how many files those were.
    pub fn restore(self) -> Result<usize> {
        let restore = || {
            let of = self.folder.join(OF);
            let bundle = self.folder.join(fs::read_link(&of)?);
            let mut count = 0;
            fs::create_dir_all(&bundle)?;
            for entry in fs::read_dir(self.folder.join(FILES))? {
                let entry = entry?;
                let place = bundle.join(entry.file_name());
                if !place.exists() {
                    fs::hard_link(entry.path(), place)?;
                    count += 1;
                }
            }
            File::open(&bundle)?.sync_all()?;
            // First: without it, a rest of the folder is not taken for a backup.
            fs::remove_file(of)?;
            fs::remove_dir_all(&self.folder)?;
            io::Result::Ok(count)
        };
        restore().context(|| format!("cannot restore the files in `{}`", self.folder.display()))
    }
}
