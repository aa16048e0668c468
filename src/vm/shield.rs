//! A template's files under second names while somebody else deletes a clone of it.
//!
//! A `vmrun` that takes a clone for a machine of its own would delete the disks it reads, which are
//! the template's; nothing can be done about that but to keep them.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};

/// A link to the bundle whose files are kept beside it.
const OF: &str = "of";
/// The folder of the second names.
const FILES: &str = "files";

/// Hard links to all files of a bundle.
pub struct Shield {
    kept: PathBuf,
}

impl Shield {
    /// Keeps the files of `bundle` in the folder `kept`, which is made, on the same file system, two
    /// levels below the output folder.
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
            let output = kept.canonicalize()?;
            let output = output.ancestors().nth(2).unwrap_or(Path::new("/"));
            let name = bundle.canonicalize()?;
            let of = match name.strip_prefix(output) {
                Ok(name) => Path::new("../..").join(name),
                Err(_) => name,
            };
            symlink(of, kept.join(OF))
        };
        keep().context(|| format!("keeping the files of `{}`", bundle.display()))?;
        Ok(Self { kept: kept.to_owned() })
    }

    /// One that a killed run left in `kept`; `None` when it left none that is whole.
    pub fn left_in(kept: &Path) -> Option<Self> {
        fs::symlink_metadata(kept.join(OF)).is_ok().then(|| Self { kept: kept.to_owned() })
    }

    /// Puts back what is gone; says how many files those were.
    pub fn lift(self) -> Result<usize> {
        let put_back = || {
            let bundle = self.kept.join(fs::read_link(self.kept.join(OF))?);
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
            fs::remove_dir_all(&self.kept)?;
            io::Result::Ok(count)
        };
        put_back().context(|| format!("putting back the files kept in `{}`", self.kept.display()))
    }
}
