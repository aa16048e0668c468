//! A template's files under second names while somebody else deletes a clone of it.
//!
//! A `vmrun` that takes a clone for a machine of its own would delete the disks it reads, which are
//! the template's; nothing can be done about that but to keep them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};

/// Hard links to all files of a bundle.
pub struct Shield {
    bundle: PathBuf,
    kept: PathBuf,
}

impl Shield {
    /// Keeps the files of `bundle` in the folder `kept`, which is made, on the same file system.
    pub fn over(bundle: &Path, kept: &Path) -> Result<Self> {
        let keep = || {
            fs::create_dir(kept)?;
            for entry in fs::read_dir(bundle)? {
                let entry = entry?;
                if entry.file_type()?.is_file() {
                    fs::hard_link(entry.path(), kept.join(entry.file_name()))?;
                }
            }
            Ok::<_, std::io::Error>(())
        };
        keep().context(|| format!("keeping the files of `{}`", bundle.display()))?;
        Ok(Self { bundle: bundle.to_owned(), kept: kept.to_owned() })
    }

    /// Puts back what is gone; says how many files those were.
    pub fn lift(self) -> Result<usize> {
        let put_back = || {
            let mut count = 0;
            fs::create_dir_all(&self.bundle)?;
            for entry in fs::read_dir(&self.kept)? {
                let entry = entry?;
                let place = self.bundle.join(entry.file_name());
                if !place.exists() {
                    fs::hard_link(entry.path(), place)?;
                    count += 1;
                }
            }
            fs::remove_dir_all(&self.kept)?;
            Ok::<_, std::io::Error>(count)
        };
        put_back().context(|| format!("putting back the files of `{}`", self.bundle.display()))
    }
}
