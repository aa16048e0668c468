//! A template's files under second names while somebody else deletes a clone of it.
//!
//! A `vmrun` that takes a clone for a machine of its own would delete the disks it reads, which are
//! the template's; nothing can be done about that but to keep them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::util::error::{Context, Result};

/// A link to the bundle whose files are kept beside it.
const OF: &str = "of";
/// The folder of the second names.
const FILES: &str = "files";

/// Hard links to all files of a bundle.
pub struct Shield {
    kept: PathBuf,
}

impl Shield {
    /// Keeps the files of `bundle` in the folder `kept`, which is made, in the output folder.
    pub fn over(bundle: &Path, kept: &Path) -> Result<Self> {
        let keep = || {
            let files = kept.join(FILES);
            fs::create_dir_all(&files)?;
            for entry in fs::read_dir(bundle)? {
                let entry = entry?;
                if entry.file_type()?.is_file() {
                    fs::hard_link(entry.path(), files.join(entry.file_name()))?;
                }
            }
            // The output folder may be moved before anybody comes to put them back.
            let (bundle, kept) = (bundle.canonicalize()?, kept.canonicalize()?);
            let of = match kept.parent().and_then(|output| bundle.strip_prefix(output).ok()) {
                Some(name) => Path::new("..").join(name),
                None => bundle,
            };
            symlink(of, kept.join(OF))
        };
        keep().context(|| format!("keeping the files of `{}`", bundle.display()))?;
        Ok(Self { kept: kept.to_owned() })
    }

    /// One that a killed run of this user left in `kept`; `None` when it left none that is whole.
    pub fn left_in(kept: &Path) -> Option<Self> {
        let own = rustix::process::geteuid().as_raw();
        let is_own = |path: &Path| fs::symlink_metadata(path).is_ok_and(|it| it.uid() == own);
        let is_whole = [kept, &kept.join(FILES), &kept.join(OF)].into_iter().all(is_own);
        is_whole.then(|| Self { kept: kept.to_owned() })
    }

    /// Puts back what is gone; says how many files those were.
    pub fn lift(self) -> Result<usize> {
        let put_back = || {
            let of = self.kept.join(OF);
            let bundle = self.kept.join(fs::read_link(&of)?);
            let mut count = 0;
            fs::create_dir_all(&bundle)?;
            for entry in fs::read_dir(self.kept.join(FILES))? {
                let entry = entry?;
                let place = bundle.join(entry.file_name());
                if !place.exists() {
                    fs::hard_link(entry.path(), place)?;
                    count += 1;
                }
            }
            File::open(&bundle)?.sync_all()?;
            // First: without it, what is left is nobody's.
            fs::remove_file(of)?;
            fs::remove_dir_all(&self.kept)?;
            io::Result::Ok(count)
        };
        put_back().context(|| format!("putting back the files kept in `{}`", self.kept.display()))
    }
}
