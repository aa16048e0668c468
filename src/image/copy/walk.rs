//! One copy for all directions.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::CopyTarget;
use super::content::FileContent;
use crate::fs::{Attributes, FileType, Metadata, Tree};
use crate::util::error::{Context, Error, ErrorKind, Problem, Result};
use crate::util::interrupt;

/// Directories deeper than this hold themselves: no path is long enough to name them.
const MAX_DEPTH: usize = 2048;

/// What of a file is kept besides its content, its time and who may use it how.
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyOptions {
    /// User and group that replace the owners.
    pub owner: Option<(u32, u32)>,
    /// Permission bits that are taken away, as a process's umask takes them; with them go set-uid,
    /// set-gid and sticky bits, extended attributes, and all that is no file, folder or link. `None`
    /// keeps everything.
    pub plain: Option<u32>,
    /// Whether what cannot be read is left out, and the copy goes on.
    pub goes_on: bool,
}

/// What a copy came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Names made or replaced, directories included.
    pub entries: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Devices, pipes and sockets that were left out.
    pub left_out: u64,
    /// What could not be read, and was left out.
    pub unread: Vec<Problem>,
}

/// Copies `source`, and all that is in it, to `target`, with owners, modes, times, extended
/// attributes, symlinks and hard links as far as the target and the options keep them. Neither path is
/// followed when it is a symlink; `target`'s parents hold none.
///
/// Files in the way are replaced. A directory in the way is filled, and stays whose it is.
pub fn copy(
    from: &dyn Tree,
    source: &Path,
    to: &mut dyn CopyTarget,
    target: &Path,
    options: CopyOptions,
) -> Result<Copied> {
    let mut copy = Copy { from, to, options, linked: HashMap::new(), copied: Copied::default() };
    match copy.copy(source, target, 0) {
        Ok(()) => Ok(copy.copied),
        Err(CopyError::Source(error) | CopyError::Target(error)) => Err(error),
    }
}

struct Copy<'a> {
    from: &'a dyn Tree,
    to: &'a mut dyn CopyTarget,
    options: CopyOptions,
    /// The first copy of each file that has several names.
    linked: HashMap<u64, PathBuf>,
    copied: Copied,
}

/// Which side of a copy failed.
enum CopyError {
    Source(Error),
    Target(Error),
}

/// Unless somebody says otherwise.
impl From<Error> for CopyError {
    fn from(error: Error) -> Self {
        Self::Target(error)
    }
}

/// A file's content, and why it could not be read.
struct SourceContent<'a> {
    content: FileContent<'a>,
    failed: Option<Error>,
}

impl Read for SourceContent<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.content.read(buffer).map_err(|error| {
            let error = Error::from(error);
            self.failed = Some(error.clone());
            error.into()
        })
    }
}

impl Copy<'_> {
    fn copy(&mut self, source: &Path, target: &Path, depth: usize) -> Result<(), CopyError> {
        interrupt::check()?;
        let metadata = self.from.metadata(source).map_err(CopyError::Source)?;
        let metadata = metadata.ok_or_else(|| {
            let message = format!("`{}`: no such file or directory", source.display());
            CopyError::Source(Error::input(message))
        })?;
        if metadata.file_type == FileType::Directory {
            self.copied.entries += 1;
            return self.copy_directory(source, target, &metadata, depth);
        }
        let is_special = !matches!(metadata.file_type, FileType::File | FileType::Symlink);
        if is_special && self.options.plain.is_some() {
            self.copied.left_out += 1;
            return Ok(());
        }
        self.copied.entries += 1;
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
            FileType::File => self.copy_content(source, target, metadata.size, attributes)?,
            FileType::Symlink => {
                let leads_to = self.from.read_link(source).map_err(CopyError::Source)?;
                self.to.symlink(target, &leads_to)?;
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
        Ok(self.to.set_modified(target, metadata.modified)?)
    }

    fn copy_content(
        &mut self,
        source: &Path,
        target: &Path,
        size: u64,
        attributes: Attributes,
    ) -> Result<(), CopyError> {
        let content = FileContent::new(self.from, source);
        let mut content = SourceContent { content, failed: None };
        match (self.to.write_from(target, &mut content, size, Some(attributes)), content.failed) {
            (Ok(()), _) => {
                self.copied.bytes += size;
                Ok(())
            }
            (Err(_), Some(error)) if error.kind() != ErrorKind::Interrupted => {
                Err(CopyError::Source(error))
            }
            (Err(error), _) => Err(CopyError::Target(error)),
        }
    }

    fn copy_directory(
        &mut self,
        source: &Path,
        target: &Path,
        metadata: &Metadata,
        depth: usize,
    ) -> Result<(), CopyError> {
        if depth > MAX_DEPTH {
            return Err(CopyError::Target(Error::failure(format!(
                "the file system is damaged: `{}` contains itself",
                source.display()
            ))));
        }
        let there = self.to.metadata(target)?;
        let is_new = match there {
            Some(there) if there.file_type == FileType::Directory => false,
            Some(_) => {
                return Err(CopyError::Target(Error::input(format!(
                    "`{}` is in the way: it is not a directory",
                    target.display()
                ))));
            }
            None => true,
        };
        let entries = self.from.read_dir(source).map_err(CopyError::Source)?;
        let attributes = self.attributes(metadata);
        if is_new {
            // The copy must be able to fill it.
            let open = Attributes { mode: attributes.mode | 0o700, ..attributes };
            self.to.create_dir(target, open)?;
        }
        for entry in entries {
            check_name(&entry.name).context(|| format!("reading `{}`", source.display()))?;
            let copied = self.copy(&source.join(&entry.name), &target.join(&entry.name), depth + 1);
            match copied {
                Err(CopyError::Source(error)) if self.options.goes_on => {
                    self.copied.unread.extend(error.problems().iter().cloned());
                }
                copied => copied?,
            }
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
        let (uid, gid) = self.options.owner.unwrap_or((metadata.uid, metadata.gid));
        let mode = match self.options.plain {
            Some(umask) => metadata.mode & 0o777 & !umask,
            None => metadata.mode,
        };
        Attributes { mode, uid, gid }
    }

    /// Gives the target those of the source and no others: a replaced file's capabilities are not
    /// its successor's.
    fn copy_xattrs(&mut self, source: &Path, target: &Path) -> Result<(), CopyError> {
        if self.options.plain.is_some() || !self.to.keeps_attributes(target) {
            return Ok(());
        }
        let wanted = self.from.xattrs(source).map_err(CopyError::Source)?;
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
