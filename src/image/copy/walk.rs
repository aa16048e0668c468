//! One copy for all directions.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::CopyTarget;
use super::content::FileContent;
use crate::fs::{Attributes, FileType, Metadata, Tree};
use crate::util::error::{Context, Error, Result};
use crate::util::interrupt;

/// Directories deeper than this hold themselves: no path is long enough to name them.
const MAX_DEPTH: usize = 2048;

/// What a copy came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Names made or replaced, directories included.
    pub entries: u64,
    /// Bytes of content.
    pub bytes: u64,
}

/// Copies `source`, and all that is in it, to `target`, with owners, modes, times, extended
/// attributes, symlinks and hard links as far as the target keeps them. `owner`, user and group,
/// replaces the owners. Neither path is followed when it is a symlink; `target`'s parents hold none.
///
/// Files in the way are replaced. A directory in the way is filled, and stays whose it is.
pub fn copy(
    from: &dyn Tree,
    source: &Path,
    to: &mut dyn CopyTarget,
    target: &Path,
    owner: Option<(u32, u32)>,
) -> Result<Copied> {
    let mut copy = Copy { from, to, owner, linked: HashMap::new(), copied: Copied::default() };
    copy.copy(source, target, 0)?;
    Ok(copy.copied)
}

struct Copy<'a> {
    from: &'a dyn Tree,
    to: &'a mut dyn CopyTarget,
    owner: Option<(u32, u32)>,
    /// The first copy of each file that has several names.
    linked: HashMap<u64, PathBuf>,
    copied: Copied,
}

impl Copy<'_> {
    fn copy(&mut self, source: &Path, target: &Path, depth: usize) -> Result<()> {
        interrupt::check()?;
        let metadata = self.from.metadata(source)?.ok_or_else(|| {
            Error::input(format!("`{}`: no such file or directory", source.display()))
        })?;
        self.copied.entries += 1;
        if metadata.file_type == FileType::Directory {
            return self.copy_directory(source, target, &metadata, depth);
        }
        if metadata.links > 1 && metadata.inode != 0 {
            if let Some(first) = self.linked.get(&metadata.inode)
                && self.to.keeps_attributes(target)
                // A name on another file system becomes a file of its own.
                && self.to.hard_link(first, target).is_ok()
            {
                return Ok(());
            }
            self.linked.insert(metadata.inode, target.to_owned());
        }
        let attributes = self.attributes(&metadata);
        match metadata.file_type {
            FileType::File => {
                let mut content = FileContent::new(self.from, source);
                self.to.write_from(target, &mut content, metadata.size, Some(attributes))?;
                self.copied.bytes += metadata.size;
            }
            FileType::Symlink => {
                self.to.symlink(target, &self.from.read_link(source)?)?;
                self.to.set_attributes(target, attributes)?;
            }
            FileType::Directory
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Fifo
            | FileType::Socket => {
                self.to.create_node(target, metadata.file_type, metadata.device, attributes)?;
                if self.to.metadata(target)?.is_none() {
                    return Ok(());
                }
            }
        }
        self.copy_xattrs(source, target)?;
        self.to.set_modified(target, metadata.modified)
    }

    fn copy_directory(
        &mut self,
        source: &Path,
        target: &Path,
        metadata: &Metadata,
        depth: usize,
    ) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(Error::failure(format!(
                "the file system is damaged: `{}` contains itself",
                source.display()
            )));
        }
        let there = self.to.metadata(target)?;
        let is_new = match there {
            Some(there) if there.file_type == FileType::Directory => false,
            Some(_) => {
                return Err(Error::input(format!(
                    "`{}` is in the way: it is not a directory",
                    target.display()
                )));
            }
            None => true,
        };
        let attributes = self.attributes(metadata);
        if is_new {
            // The copy must be able to fill it.
            let open = Attributes { mode: attributes.mode | 0o700, ..attributes };
            self.to.create_dir(target, open)?;
        }
        for entry in self.from.read_dir(source)? {
            check_name(&entry.name).context(|| format!("reading `{}`", source.display()))?;
            self.copy(&source.join(&entry.name), &target.join(&entry.name), depth + 1)?;
        }
        if is_new {
            if attributes.mode & 0o700 != 0o700 {
                self.to.set_attributes(target, attributes)?;
            }
            self.copy_xattrs(source, target)?;
            self.to.set_modified(target, metadata.modified)?;
        }
        Ok(())
    }

    fn attributes(&self, metadata: &Metadata) -> Attributes {
        match self.owner {
            Some((uid, gid)) => Attributes { mode: metadata.mode, uid, gid },
            None => metadata.attributes(),
        }
    }

    /// Gives the target those of the source and no others: a replaced file's capabilities are not
    /// its successor's.
    fn copy_xattrs(&mut self, source: &Path, target: &Path) -> Result<()> {
        if !self.to.keeps_attributes(target) {
            return Ok(());
        }
        let wanted = self.from.xattrs(source)?;
        let there = self.to.xattrs(target)?;
        for (name, _) in &there {
            if !wanted.iter().any(|(wanted, _)| wanted == name) {
                self.to.set_xattr(target, text(name)?, None)?;
            }
        }
        for (name, value) in wanted.iter().filter(|wanted| !there.contains(wanted)) {
            self.to.set_xattr(target, text(name)?, Some(value))?;
        }
        Ok(())
    }
}

fn text(name: &OsString) -> Result<&str> {
    name.to_str().ok_or_else(|| {
        Error::failure(format!("the extended attribute `{}` is not UTF-8", name.display()))
    })
}

/// Names come from a stranger's image: none may lead out of its directory.
fn check_name(name: &OsStr) -> Result<()> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        return Err(Error::failure(format!(
            "the file system is damaged: `{}` is not a valid file name",
            name.display()
        )));
    }
    Ok(())
}
