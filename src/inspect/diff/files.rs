//! Two trees walked side by side.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::fs::{Entry, FileType, Metadata, Tree};
use crate::util::error::{Error, Result};
use crate::util::interrupt;

/// How much of two files is compared at once, in bytes.
const CHUNK: usize = 1 << 20;

/// Directories deeper than this hold themselves: no path is long enough to name them.
const MAX_DEPTH: usize = 2048;

/// What became of files. Paths are those of the second tree, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileChanges {
    /// Only in the second.
    pub added: Vec<ChangedPart>,
    /// Only in the first.
    pub removed: Vec<ChangedPart>,
    /// In both, and not the same.
    pub changed: Vec<FileChange>,
}

/// A file, or a directory with all that is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChangedPart {
    /// Where; ends in a slash when it is a directory.
    pub path: String,
    /// How many names, its own included.
    pub entries: u64,
}

/// A path in both trees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// Where.
    pub path: String,
    /// What is not the same: `type`, `content`, `target`, `mode`, `owner`, `xattrs`, `device`.
    pub what: Vec<&'static str>,
}

impl FileChanges {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there are; a directory only one tree has counts once.
    pub fn len(&self) -> usize {
        self.added.len() + self.removed.len() + self.changed.len()
    }
}

/// Compares everything below two paths, and the paths themselves. They hold no symlinks.
pub fn compare_files(a: &dyn Tree, at_a: &Path, b: &dyn Tree, at_b: &Path) -> Result<FileChanges> {
    let mut walk =
        Walk { a, b, found: FileChanges::default(), buffers: [vec![0; CHUNK], vec![0; CHUNK]] };
    walk.both(at_a, at_b, 0)?;
    Ok(walk.found)
}

struct Walk<'a> {
    a: &'a dyn Tree,
    b: &'a dyn Tree,
    found: FileChanges,
    buffers: [Vec<u8>; 2],
}

impl Walk<'_> {
    fn both(&mut self, at_a: &Path, at_b: &Path, depth: usize) -> Result<()> {
        interrupt::check()?;
        let (a, b) = (known(self.a, at_a)?, known(self.b, at_b)?);
        let what = self.differences(at_a, &a, at_b, &b)?;
        if !what.is_empty() {
            self.found.changed.push(FileChange { path: show(at_b), what });
        }
        if a.file_type == FileType::Directory && b.file_type == FileType::Directory {
            self.directories(at_a, at_b, depth)?;
        }
        Ok(())
    }

    fn directories(&mut self, at_a: &Path, at_b: &Path, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(Error::failure(format!(
                "the file system is damaged: `{}` contains itself",
                at_b.display()
            )));
        }
        let (a, b) = (self.a.read_dir(at_a)?, self.b.read_dir(at_b)?);
        let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
        loop {
            let order = match (a.peek(), b.peek()) {
                (None, None) => return Ok(()),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(a), Some(b)) => bytes(&a.name).cmp(bytes(&b.name)),
            };
            // Both are advanced past the names looked at; which those are follows from the order.
            let old = if order.is_le() { a.next() } else { None };
            let new = if order.is_ge() { b.next() } else { None };
            match (old, new) {
                (Some(old), Some(new)) => {
                    self.both(&at_a.join(&old.name), &at_b.join(&new.name), depth + 1)?;
                }
                (Some(old), None) => {
                    let part = part(self.a, at_a, at_b, old)?;
                    self.found.removed.push(part);
                }
                (None, Some(new)) => {
                    let part = part(self.b, at_b, at_b, new)?;
                    self.found.added.push(part);
                }
                (None, None) => return Ok(()),
            }
        }
    }

    fn differences(
        &mut self,
        at_a: &Path,
        a: &Metadata,
        at_b: &Path,
        b: &Metadata,
    ) -> Result<Vec<&'static str>> {
        if a.file_type != b.file_type {
            return Ok(vec!["type"]);
        }
        let mut what = Vec::new();
        match a.file_type {
            FileType::File => {
                if a.size != b.size || !self.same_content(at_a, at_b)? {
                    what.push("content");
                }
            }
            FileType::Symlink => {
                if self.a.read_link(at_a)? != self.b.read_link(at_b)? {
                    what.push("target");
                }
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                if a.device != b.device {
                    what.push("device");
                }
            }
            FileType::Directory | FileType::Fifo | FileType::Socket => {}
        }
        if a.mode != b.mode {
            what.push("mode");
        }
        if (a.uid, a.gid) != (b.uid, b.gid) {
            what.push("owner");
        }
        if self.a.xattrs(at_a)? != self.b.xattrs(at_b)? {
            what.push("xattrs");
        }
        Ok(what)
    }

    /// Whether two files of one size hold the same bytes.
    fn same_content(&mut self, at_a: &Path, at_b: &Path) -> Result<bool> {
        let [left, right] = &mut self.buffers;
        let mut offset = 0;
        loop {
            interrupt::check()?;
            let read = self.a.read_at(at_a, offset, left)?;
            let mut done = 0;
            while done < read {
                match self.b.read_at(at_b, offset + done as u64, &mut right[done..read])? {
                    0 => return Ok(false),
                    more => done += more,
                }
            }
            if left[..read] != right[..read] {
                return Ok(false);
            }
            if read == 0 {
                return Ok(true);
            }
            offset += read as u64;
        }
    }
}

fn bytes(name: &OsStr) -> &[u8] {
    name.as_bytes()
}

fn known(tree: &dyn Tree, path: &Path) -> Result<Metadata> {
    tree.metadata(path)?.ok_or_else(|| {
        Error::failure(format!("`{}` is listed but cannot be found", path.display()))
    })
}

fn show(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Something that only `tree` has, in its directory `folder`; the second tree would have it in
/// `shown`.
fn part(tree: &dyn Tree, folder: &Path, shown: &Path, entry: &Entry) -> Result<ChangedPart> {
    let mut path = show(&shown.join(&entry.name));
    if entry.file_type != FileType::Directory {
        return Ok(ChangedPart { path, entries: 1 });
    }
    path.push('/');
    Ok(ChangedPart { path, entries: count(tree, folder.join(&entry.name))? })
}

fn count(tree: &dyn Tree, folder: PathBuf) -> Result<u64> {
    let mut entries = 1;
    let mut folders = vec![(folder, 0)];
    while let Some((folder, depth)) = folders.pop() {
        interrupt::check()?;
        if depth > MAX_DEPTH {
            return Err(Error::failure("the file system is damaged: a directory contains itself"));
        }
        for entry in tree.read_dir(&folder)? {
            entries += 1;
            if entry.file_type == FileType::Directory {
                folders.push((folder.join(&entry.name), depth + 1));
            }
        }
    }
    Ok(entries)
}
