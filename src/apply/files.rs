//! Files, directories and links, with the owners that the image itself knows.

use std::path::Path;

use crate::apply::owner;
use crate::change::Owner;
use crate::fs::{Attributes, FileType, Tree};
use crate::util::error::{Error, Result};

/// What a directory made on the way to a file gets.
const PARENT: Attributes = Attributes { mode: 0o755, uid: 0, gid: 0 };

/// Makes or replaces a file, and the directories above it.
pub(super) fn write(
    tree: &mut dyn Tree,
    path: &Path,
    bytes: &[u8],
    mode: u32,
    owner: &Owner,
) -> Result<()> {
    let attributes = owner::attributes(tree, mode, owner)?;
    create_parents(tree, path)?;
    tree.write(path, bytes, Some(attributes))
}

/// Makes a directory and those above it.
pub(super) fn create_dir(tree: &mut dyn Tree, path: &Path, mode: u32, owner: &Owner) -> Result<()> {
    let attributes = owner::attributes(tree, mode, owner)?;
    create_parents(tree, path)?;
    tree.create_dir(path, attributes)
}

/// Makes a symlink and the directories above it.
pub(super) fn symlink(tree: &mut dyn Tree, path: &Path, target: &Path) -> Result<()> {
    create_parents(tree, path)?;
    tree.symlink(path, target)
}

/// Removes what is at `path`, if anything is. A `*` in its last component stands for any characters.
pub(crate) fn remove(tree: &mut dyn Tree, path: &str) -> Result<()> {
    let pattern = path.rsplit_once('/').and_then(|(folder, name)| {
        name.split_once('*').map(|(prefix, suffix)| (Path::new(folder), prefix, suffix))
    });
    let Some((folder, prefix, suffix)) = pattern else { return tree.remove(Path::new(path)) };
    if tree.metadata(folder)?.is_none_or(|it| it.file_type != FileType::Directory) {
        return Ok(());
    }
    for entry in tree.read_dir(folder)? {
        let name = entry.name.as_encoded_bytes();
        if name.len() >= prefix.len() + suffix.len()
            && name.starts_with(prefix.as_bytes())
            && name.ends_with(suffix.as_bytes())
        {
            tree.remove(&folder.join(&entry.name))?;
        }
    }
    Ok(())
}

/// Makes the missing directories above `path`. One that is a symlink is followed.
pub(crate) fn create_parents(tree: &mut dyn Tree, path: &Path) -> Result<()> {
    let Some(parent) = path.parent() else {
        return Err(Error::input(format!("`{}` is no path of a file", path.display())));
    };
    if tree.metadata(parent)?.is_some() {
        return Ok(());
    }
    create_parents(tree, parent)?;
    tree.create_dir(parent, PARENT)
}
