//! Copying files between trees: this machine and an image, or two images.

mod content;
mod host;
mod walk;

pub use content::FileContent;
pub use host::{HostTree, Withheld};
pub use walk::{Copied, CopyOptions, copy};

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::fs::{Attributes, FileType, Metadata, Tree};
use crate::image::Image;
use crate::util::error::{Error, Result};

/// A tree that files are copied to.
pub trait CopyTarget: Tree {
    /// Whether it keeps more than content and times at `path`, which holds no symlinks: owners,
    /// modes, extended attributes and links.
    fn keeps_attributes(&self, path: &Path) -> bool;
}

impl CopyTarget for Image {
    fn keeps_attributes(&self, path: &Path) -> bool {
        let covering = self.mounts().iter().filter(|mount| path.starts_with(&mount.point));
        let deepest = covering.max_by_key(|mount| mount.point.components().count());
        deepest.is_none_or(|mount| !mount.kind.starts_with("FAT"))
    }
}

impl Metadata {
    /// Owner and mode.
    pub fn attributes(&self) -> Attributes {
        Attributes { mode: self.mode, uid: self.uid, gid: self.gid }
    }
}

/// Where in `tree` a copy named `name` goes when it is asked to go to `path`: into a directory, in
/// place of a file, or beside what is there. `name` is `None` for a tree's root, whose content is
/// merged into a directory. With `follow`, a symlink to a file stands for that file.
pub fn destination(
    tree: &dyn Tree,
    path: &Path,
    name: Option<&std::ffi::OsStr>,
    follow: bool,
) -> Result<std::path::PathBuf> {
    if let Some(found) = tree.resolve(path)? {
        let kind = tree.metadata(&found)?.map(|metadata| metadata.file_type);
        if kind == Some(FileType::Directory) {
            return Ok(name.map_or_else(|| found.clone(), |name| found.join(name)));
        }
        if ends_in_slash(path) {
            return Err(Error::input(format!("`{}` is not a directory", path.display())));
        }
        if follow {
            return Ok(found);
        }
    }
    let missing = |path: &Path| {
        Error::input(format!("the image has no directory `{}`", path.display()))
            .hint("copy a directory with `-r` to make it")
    };
    if ends_in_slash(path) {
        return Err(missing(path));
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::input(format!("`{}` does not name a file", path.display())));
    };
    let folder = tree.resolve(folder)?.ok_or_else(|| missing(folder))?;
    Ok(folder.join(name))
}

/// As people write it to say that they mean a directory.
pub fn ends_in_slash(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/") || is_content(path)
}

/// As people write it to say that they mean what is in a directory, and not the directory: `etc/.`.
pub fn is_content(path: &Path) -> bool {
    // A path's own components leave a dot at the end out.
    let bytes = path.as_os_str().as_bytes();
    let last = bytes.rsplit(|byte| *byte == b'/').next();
    matches!(last, Some(b"." | b".."))
}
