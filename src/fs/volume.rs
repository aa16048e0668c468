//! One file system, seen by node: what paths are resolved against.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use super::{Attributes, Entry, FileType, Metadata};
use crate::util::error::Result;

/// A file or directory of one volume: its inode number, or what stands for it on FAT.
pub type VolumeNode = u64;

/// What a file system has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes all blocks together hold.
    pub total: u64,
    /// Bytes in free blocks, those reserved for root included.
    pub free: u64,
    /// Inodes that are free; `u64::MAX` where there are none to run out of.
    pub free_inodes: u64,
    /// The unit of allocation in bytes.
    pub block: u64,
}

/// Something about to be stored.
#[derive(Clone, Copy, Debug)]
pub enum Planned<'a> {
    /// A regular file of so many bytes.
    File(u64),
    /// A symlink to this target.
    Symlink(&'a OsStr),
    /// A further name of a file.
    Link,
    /// A device with these numbers, a pipe or a socket.
    Special((u32, u32)),
}

/// One file system. It knows no paths: directories are walked one name at a time, by
/// [`super::namespace::Namespace`], so that symlinks and mounts are followed in one place for all of them.
///
/// Errors say what went wrong, not where: the caller knows the path. Names are single components,
/// never `.` or `..`.
pub trait Volume: Send {
    /// What it is called: `ext4`, `FAT32`.
    fn kind(&self) -> &'static str;

    /// Its label; `None` when empty.
    fn label(&self) -> Option<String>;

    /// What `UUID=` in an fstab calls it: `1234-ABCD` on FAT.
    fn uuid(&self) -> Option<String>;

    /// Whether it can be changed.
    fn is_writable(&self) -> bool;

    /// Whether it stores owners, modes and nanoseconds, or makes them up.
    fn has_owners(&self) -> bool;

    /// What is left.
    fn space(&self) -> Result<Space>;

    /// The root directory.
    fn root(&self) -> VolumeNode;

    /// The node a name leads to; `None` when there is no such name.
    fn lookup(&self, directory: VolumeNode, name: &OsStr) -> Result<Option<VolumeNode>>;

    /// What is known of a node.
    fn metadata(&self, node: VolumeNode) -> Result<Metadata>;

    /// Bytes of the blocks a file's content takes up.
    fn allocated(&self, node: VolumeNode) -> Result<u64>;

    /// Everything in a directory but `.` and `..`, in any order.
    fn read_dir(&self, directory: VolumeNode) -> Result<Vec<(Entry, VolumeNode)>>;

    /// A regular file's bytes from `offset`; 0 at its end.
    fn read_at(&self, node: VolumeNode, offset: u64, buffer: &mut [u8]) -> Result<usize>;

    /// Where a regular file may hold anything but zeros: runs of bytes, ascending, that end
    /// within it.
    fn data_runs(&self, node: VolumeNode) -> Result<Vec<Range<u64>>>;

    /// A symlink's target.
    fn read_link(&self, node: VolumeNode) -> Result<OsString>;

    /// Extended attributes by full name, in any order.
    fn xattrs(&self, node: VolumeNode) -> Result<Vec<(OsString, Vec<u8>)>>;

    /// Refuses what it cannot store, whatever space there is: asked before anything is changed.
    fn check(&self, planned: Planned<'_>) -> Result<()>;

    /// Makes an empty regular file under a name that is free.
    fn create_file(
        &mut self,
        directory: VolumeNode,
        name: &OsStr,
        attributes: Attributes,
    ) -> Result<VolumeNode>;

    /// Makes an empty directory under a name that is free.
    fn create_dir(
        &mut self,
        directory: VolumeNode,
        name: &OsStr,
        attributes: Attributes,
    ) -> Result<VolumeNode>;

    /// Makes a symlink, owned by root, under a name that is free.
    fn create_symlink(
        &mut self,
        directory: VolumeNode,
        name: &OsStr,
        target: &OsStr,
    ) -> Result<VolumeNode>;

    /// Makes a device, pipe or socket under a name that is free.
    fn create_special(
        &mut self,
        directory: VolumeNode,
        name: &OsStr,
        file_type: FileType,
        device: (u32, u32),
        attributes: Attributes,
    ) -> Result<VolumeNode>;

    /// Gives a file a further name.
    fn link(&mut self, node: VolumeNode, directory: VolumeNode, name: &OsStr) -> Result<()>;

    /// Removes a name that is not a directory's; the file goes with its last name.
    fn unlink(&mut self, directory: VolumeNode, name: &OsStr) -> Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&mut self, directory: VolumeNode, name: &OsStr) -> Result<()>;

    /// Replaces a regular file's content with the next `size` bytes of `content`.
    /// Whether there is space for them was checked before.
    fn replace_content(
        &mut self,
        node: VolumeNode,
        content: &mut dyn Read,
        size: u64,
    ) -> Result<()>;

    /// Sets owner and mode.
    fn set_attributes(&mut self, node: VolumeNode, attributes: Attributes) -> Result<()>;

    /// Sets the time of last change.
    fn set_modified(&mut self, node: VolumeNode, time: (i64, u32)) -> Result<()>;

    /// Sets one extended attribute or removes it. `path` leads from the volume's root to the
    /// node, without symlinks.
    fn set_xattr(&mut self, path: &Path, name: &str, value: Option<&[u8]>) -> Result<()>;

    /// Writes everything that is still in memory to the disk.
    fn flush(&mut self) -> Result<()>;
}
