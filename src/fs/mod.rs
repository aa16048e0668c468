//! File trees in user space: ext4 and FAT behind one trait.
//!
//! A [`Volume`] is one file system, seen by node; a [`Namespace`] mounts volumes into each other
//! and is the [`Tree`] that everything else works on.

mod acl;
pub mod ext4;
pub mod fat;
mod image_partition;
#[cfg(target_os = "linux")]
mod live;
#[cfg(target_os = "linux")]
pub(crate) mod mkfs;
mod namespace;
mod probe;
mod repair;
mod resolve;
#[cfg(test)]
pub(crate) mod second_reader;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod used;
mod volume;
mod written;

pub use ext4::Ext4;
pub use fat::Fat;
pub(crate) use image_partition::ImagePartition;
#[cfg(target_os = "linux")]
pub(crate) use live::LiveTree;
pub use namespace::{Mount, Namespace};
pub use probe::{Kind, probe};
#[cfg(test)]
pub(crate) use second_reader::{UNKNOWN_TO_IT, assert_readers_agree};
#[cfg(test)]
pub(crate) use testing::{
    CLOCK, EXT4_KINDS, ROOT_DIRECTORY, ROOT_FILE, assert_fat_clean, ext4_image, fat_image, overlay,
    sample_tree, tree, writable,
};
pub use used::in_use;
pub(crate) use used::join;
pub use volume::{Node, Planned, Space, Volume};
pub use written::Expected;

use std::ffi::OsString;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::Disk;
use crate::util::error::{Error, Result};

/// Opens the file system that fills `disk`, for writing when the disk can be written.
///
/// `clock` (seconds since 1970) becomes the time of everything that is changed. File systems that
/// are recognised but not supported are refused by name.
pub fn open(disk: Arc<dyn Disk>, clock: i64) -> Result<Box<dyn Volume>> {
    let kind = probe(&*disk)?;
    match kind {
        Kind::Ext4 => Ok(Box::new(Ext4::open(disk, clock)?)),
        Kind::Fat => Ok(Box::new(Fat::open(disk, clock)?)),
        Kind::Empty => Err(Error::input("it holds no file system: its first blocks are zeros")),
        Kind::Unknown => Err(Error::input("it holds no file system that is known here")),
        Kind::ExFat
        | Kind::Ntfs
        | Kind::Btrfs
        | Kind::Xfs
        | Kind::F2fs
        | Kind::Lvm
        | Kind::Luks
        | Kind::BitLocker
        | Kind::Raid
        | Kind::Swap
        | Kind::Squashfs
        | Kind::Erofs
        | Kind::Iso9660
        | Kind::HfsPlus
        | Kind::Apfs
        | Kind::Bcachefs => Err(Error::input(format!("{} is not supported", kind.name()))
            .hint("nodeforge edits ext4 and FAT; use an image whose root file system is ext4")),
    }
}

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
    /// Tells hard links apart: files of one tree with the same number are one; 0 on FAT.
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
/// a symlink, except by [`Tree::resolve`]; those before it are, as a process
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

    /// Where a regular file may hold anything but zeros: runs of bytes, ascending, that end
    /// within it.
    fn data_runs(&self, path: &Path) -> Result<Vec<Range<u64>>>;

    /// All of a regular file, the last symlink followed. `Ok(None)` when there is none; an error
    /// when it has more than `limit` bytes.
    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(path) = self.resolve(path)? else { return Ok(None) };
        let Some(metadata) = self.metadata(&path)? else { return Ok(None) };
        if metadata.size > limit {
            return Err(Error::failure(format!(
                "`{}` has {} bytes, and no more than {limit} were expected",
                path.display(),
                metadata.size
            )));
        }
        let size = usize::try_from(metadata.size)
            .map_err(|_| Error::failure(format!("`{}` does not fit in memory", path.display())))?;
        let mut content = vec![0; size];
        let mut done = 0;
        while done < size {
            match self.read_at(&path, done as u64, &mut content[done..])? {
                0 => break,
                read => done += read,
            }
        }
        content.truncate(done);
        Ok(Some(content))
    }

    /// Where a path leads: the same place by a path without symlinks, the last one followed
    /// too. `Ok(None)` when there is nothing.
    fn resolve(&self, path: &Path) -> Result<Option<PathBuf>>;

    /// Extended attributes by full name (`security.capability`), sorted. Values are as a program
    /// reads them with getxattr(2), ACLs included.
    fn xattrs(&self, path: &Path) -> Result<Vec<(OsString, Vec<u8>)>>;

    /// Makes or replaces a regular file of exactly `size` bytes. An existing file keeps its
    /// owner, mode and extended attributes when `attributes` is `None`; a new one then is root's,
    /// `0o644`. A symlink in its place is replaced, not followed. Nothing is changed when space is
    /// short; when `content` fails or ends early, the file is left cut short.
    fn write_from(
        &mut self,
        path: &Path,
        content: &mut dyn Read,
        size: u64,
        attributes: Option<Attributes>,
    ) -> Result<()>;

    /// [`Tree::write_from`] with content in memory.
    fn write(
        &mut self,
        path: &Path,
        mut content: &[u8],
        attributes: Option<Attributes>,
    ) -> Result<()> {
        let size = content.len() as u64;
        self.write_from(path, &mut content, size, attributes)
    }

    /// Makes a directory; one that is there already gets the attributes.
    fn create_dir(&mut self, path: &Path, attributes: Attributes) -> Result<()>;

    /// Makes a symlink of any length, in place of whatever file or symlink is there.
    fn symlink(&mut self, path: &Path, target: &Path) -> Result<()>;

    /// Gives an existing file a second name.
    fn hard_link(&mut self, existing: &Path, path: &Path) -> Result<()>;

    /// Makes a device, pipe or socket, in place of whatever file or symlink is there. `device` is
    /// major and minor number; zeros for pipes and sockets.
    fn create_node(
        &mut self,
        path: &Path,
        file_type: FileType,
        device: (u32, u32),
        attributes: Attributes,
    ) -> Result<()>;

    /// Removes a file, a symlink, or a directory with all that is in it. Missing is fine.
    fn remove(&mut self, path: &Path) -> Result<()>;

    /// Sets owner and mode of the path itself. A symlink's mode is always `0o777`.
    fn set_attributes(&mut self, path: &Path, attributes: Attributes) -> Result<()>;

    /// Sets the time of last change: seconds since 1970 and nanoseconds.
    fn set_modified(&mut self, path: &Path, time: (i64, u32)) -> Result<()>;

    /// Sets one extended attribute, or removes it.
    fn set_xattr(&mut self, path: &Path, name: &str, value: Option<&[u8]>) -> Result<()>;

    /// Writes everything that is still in memory to the disk.
    fn flush(&mut self) -> Result<()>;
}
