//! Files, directories and links of a tree, with the directories above them.

use std::path::Path;

use crate::fs::{Attributes, FileType, Tree};
use crate::util::error::{Error, Result};

/// What a directory made on the way to a file gets.
const PARENT: Attributes = Attributes { mode: 0o755, uid: 0, gid: 0 };

/// The most that is read of a text file, in bytes.
pub(crate) const TEXT_LIMIT: u64 = 1 << 20;

/// A file of root's.
pub(super) const fn root(mode: u32) -> Attributes {
    Attributes { mode, uid: 0, gid: 0 }
}

/// A text file; `None` when it is missing. A larger one, and one that is not UTF-8, is an error: what
/// is read here may be written back.
pub(crate) fn read_text(tree: &dyn Tree, path: &str) -> Result<Option<String>> {
    let Some(bytes) = tree.read(Path::new(path), TEXT_LIMIT)? else { return Ok(None) };
    let text = String::from_utf8(bytes);
    text.map(Some).map_err(|_| Error::failure(format!("`{path}` in the image is not UTF-8")))
}

/// A text file to look at, with what is not UTF-8 replaced; `None` when it is missing.
pub(crate) fn read_lossy(tree: &dyn Tree, path: &str) -> Result<Option<String>> {
    let content = tree.read(Path::new(path), TEXT_LIMIT)?;
    Ok(content.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// The names in a directory, sorted; none when there is no such directory.
pub(crate) fn names_in(tree: &dyn Tree, path: &str) -> Result<Vec<String>> {
    let Some(path) = tree.resolve(Path::new(path))? else { return Ok(Vec::new()) };
    if !is_directory(tree, &path)? {
        return Ok(Vec::new());
    }
    let entries = tree.read_dir(&path)?;
    Ok(entries.into_iter().map(|entry| entry.name.to_string_lossy().into_owned()).collect())
}

/// Makes or replaces a file, and the directories above it.
pub(crate) fn write(
    tree: &mut dyn Tree,
    path: &Path,
    bytes: &[u8],
    attributes: Attributes,
) -> Result<()> {
    create_parents(tree, path)?;
    tree.write(path, bytes, Some(attributes))
}

/// Makes a directory and those above it.
pub(crate) fn create_dir(tree: &mut dyn Tree, path: &Path, attributes: Attributes) -> Result<()> {
    create_parents(tree, path)?;
    tree.create_dir(path, attributes)
}

/// Makes a symlink and the directories above it.
pub(crate) fn symlink(tree: &mut dyn Tree, path: &Path, target: &Path) -> Result<()> {
    create_parents(tree, path)?;
    tree.symlink(path, target)
}

/// Removes what is at `path`, if anything is. A `*` in its last component stands for any characters.
pub(crate) fn remove(tree: &mut dyn Tree, path: &str) -> Result<()> {
    let pattern = path.rsplit_once('/').and_then(|(folder, name)| {
        name.split_once('*').map(|(prefix, suffix)| (Path::new(folder), prefix, suffix))
    });
    let Some((folder, prefix, suffix)) = pattern else { return tree.remove(Path::new(path)) };
    if !is_directory(tree, folder)? {
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
        return Err(Error::input(format!("`{}` is not the path of a file", path.display())));
    };
    if tree.metadata(parent)?.is_some() {
        return Ok(());
    }
    create_parents(tree, parent)?;
    tree.create_dir(parent, PARENT)
}

/// Whether the path itself, not where it leads as a link, is a directory.
pub(super) fn is_directory(tree: &dyn Tree, path: &Path) -> Result<bool> {
    Ok(tree.metadata(path)?.is_some_and(|it| it.file_type == FileType::Directory))
}
