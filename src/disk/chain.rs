//! Chains of images: each names the one below, and none is trusted in what it names.

use std::fs::File;
use std::path::{Component, Path, PathBuf};

use crate::util::error::{Context, Error, Result};

/// Images in one chain. VMware itself stops at 32.
const LONGEST: usize = 32;

/// The images opened so far, from the top down.
#[derive(Default)]
pub(super) struct Chain {
    paths: Vec<PathBuf>,
    /// What else they are made of.
    extents: Vec<PathBuf>,
}

impl Chain {
    /// Adds an image; an error when it is in the chain already, or the chain is too long.
    pub(super) fn enter(&mut self, path: &Path) -> Result<()> {
        let real = path.canonicalize().context(|| format!("opening `{}`", path.display()))?;
        if self.paths.contains(&real) {
            return Err(Error::input(format!(
                "the backing chain of `{}` contains a loop",
                path.display()
            )));
        }
        if self.paths.len() == LONGEST {
            return Err(Error::input(format!("the backing chain has more than {LONGEST} images")));
        }
        self.paths.push(real);
        Ok(())
    }

    /// Notes a file that the image entered last is made of.
    pub(super) fn add_extent(&mut self, path: PathBuf) {
        self.extents.push(path);
    }

    /// All files opened so far, the images before their extents.
    pub(super) fn into_files(self) -> Vec<PathBuf> {
        [self.paths, self.extents].concat()
    }
}

/// Opens what an image refers to: a regular file and nothing else. A device or a pipe
/// named by a stranger's image is not for reading.
pub(crate) fn open_regular(path: &Path) -> Result<File> {
    let context = || format!("opening `{}`", path.display());
    // Asked before opening: to open a pipe is to wait.
    if !path.metadata().context(context)?.is_file() {
        return Err(Error::input(format!("`{}` is not a file", path.display())));
    }
    File::open(path).context(context)
}

/// Where `name`, found in the image at `image`, leads when it may not leave the image's folder;
/// `None` when it would.
pub(super) fn inside_folder(image: &Path, name: &str) -> Option<PathBuf> {
    let name = Path::new(name);
    let plain = name
        .components()
        .all(|component| matches!(component, Component::Normal(_) | Component::CurDir));
    (plain && !name.as_os_str().is_empty()).then(|| image.with_file_name(name))
}
