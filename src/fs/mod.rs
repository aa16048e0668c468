//! File trees in user space: ext4 and FAT behind one trait.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::Result;

/// What kind of thing a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// What is known of a path. On FAT, which has no owners, everything is root's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Its type.
    pub file_type: FileType,
    /// Bytes; of a symlink, its target's length.
    pub size: u64,
    /// Permission bits with set-uid, set-gid and sticky: `0o7777` at most.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Last change of content: seconds since 1970 and nanoseconds.
    pub modified: (i64, u32),
    /// Names that lead to it.
    pub links: u32,
    /// Inode number, to tell hard links apart; 0 on FAT.
    pub inode: u64,
    /// Major and minor number of a device; zeros for all else.
    pub device: (u32, u32),
}

/// Who a path belongs to and who may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits with set-uid, set-gid and sticky: `0o7777` at most.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
}

/// One name in a directory; `.` and `..` are never listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name: bytes, not always UTF-8.
    pub name: OsString,
    /// What it names.
    pub file_type: FileType,
}

/// A tree of files that can be read and changed.
///
/// Paths are absolute, from the tree's own root. The *last* component is never followed when it is
/// a symlink, except by the provided [`Tree::resolve`]; those before it are, as a process
/// whose root this tree is would follow them: absolute targets start at the tree's root, `..`
/// at the root stays there, and more than 40 links in one path are an error.
///
/// New inodes and changed ones get the tree's fixed clock as their times, so that the same edits
/// give the same bits. Errors name the path.
pub trait Tree {
    /// Metadata of the path itself. `Ok(None)` when it does not exist.
    fn metadata(&self, path: &Path) -> Result<Option<Metadata>>;

    /// Names in a directory, sorted by bytes.
    fn read_dir(&self, path: &Path) -> Result<Vec<Entry>>;

    /// A regular file's bytes from `offset`; returns how many were read, 0 at its end.
    fn read_at(&self, path: &Path, offset: u64, buffer: &mut [u8]) -> Result<usize>;

    /// A symlink's target.
    fn read_link(&self, path: &Path) -> Result<PathBuf>;

    /// Extended attributes by full name (`security.capability`), sorted.
    fn xattrs(&self, path: &Path) -> Result<Vec<(OsString, Vec<u8>)>>;

    /// Makes or replaces a regular file. An existing file keeps its owner, mode and extended
    /// attributes when `attributes` is `None`; a new one then is root's, `0o644`.
    /// A symlink in its place is replaced, not followed. Nothing is changed when space is short.
    fn write(&mut self, path: &Path, content: &[u8], attributes: Option<Attributes>) -> Result<()>;

    /// Makes a directory; one that is there already gets the attributes.
    fn create_dir(&mut self, path: &Path, attributes: Attributes) -> Result<()>;

    /// Makes a symlink of any length, in place of whatever file or symlink is there.
    fn symlink(&mut self, path: &Path, target: &Path) -> Result<()>;

    /// Gives an existing file a second name.
    fn hard_link(&mut self, existing: &Path, path: &Path) -> Result<()>;

    /// Removes a file, a symlink, or a directory with all that is in it. Missing is fine.
    fn remove(&mut self, path: &Path) -> Result<()>;

    /// Sets owner and mode of the path itself.
    fn set_attributes(&mut self, path: &Path, attributes: Attributes) -> Result<()>;

    /// Sets one extended attribute, or removes it.
    fn set_xattr(&mut self, path: &Path, name: &str, value: Option<&[u8]>) -> Result<()>;

    /// Writes everything that is still in memory to the disk.
    fn flush(&mut self) -> Result<()>;
}
