//! Owners, modes, times and extended attributes of this machine's files.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType as HostType, Mode, Timespec, Timestamps, UTIME_OMIT, XattrFlags, chownat,
    fchmod, fchown, fgetxattr, flistxattr, fremovexattr, fsetxattr, utimensat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::{HostTree, is_withheld};
use crate::fs::Attributes;
use crate::util::error::Result;

/// Set-uid and set-gid: not for a file that could not be given to its owner.
const SET_ID: u32 = 0o6000;

/// More than any file system keeps for one file, in bytes.
const XATTR_LIMIT: usize = 1 << 20;

/// Whether an attribute means the same to an image as it does here. A security module's labels
/// depend on where a file lies, and those of other systems mean nothing to ext4.
fn is_portable(name: &[u8]) -> bool {
    let acl: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];
    name.starts_with(b"user.")
        || name.starts_with(b"trusted.")
        || name == b"security.capability"
        || acl.contains(&name)
}

/// Files and folders have some; other things cannot be opened to be asked.
pub(super) fn read(tree: &HostTree, path: &Path) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    let Some(file) = open(tree, path)? else { return Ok(Vec::new()) };
    let names = match read_growing(|buffer| flistxattr(&file, buffer)) {
        Err(error) if is_withheld(error) => return Ok(Vec::new()),
        names => names?,
    };
    let mut attributes = Vec::new();
    for name in names.split(|&byte| byte == 0).filter(|name| is_portable(name)) {
        let name = OsStr::from_bytes(name);
        let value = read_growing(|buffer| fgetxattr(&file, name, buffer))?;
        attributes.push((OsString::from_vec(name.as_bytes().to_vec()), value));
    }
    attributes.sort();
    Ok(attributes)
}

fn open(tree: &HostTree, path: &Path) -> io::Result<Option<File>> {
    let Some(stat) = tree.stat(path)? else { return Err(io::ErrorKind::NotFound.into()) };
    let file_type = HostType::from_raw_mode(stat.st_mode);
    if !matches!(file_type, HostType::RegularFile | HostType::Directory) {
        return Ok(None);
    }
    tree.open_existing(path).map(Some)
}

fn read_growing(
    read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = vec![0; 1024];
    loop {
        match read(&mut buffer) {
            Err(Errno::RANGE) if buffer.len() < XATTR_LIMIT => buffer.resize(buffer.len() * 4, 0),
            Err(error) => return Err(error),
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
        }
    }
}

/// Sets owner and mode of an open file or folder.
pub(super) fn set_open(
    tree: &HostTree,
    file: impl AsFd,
    attributes: Attributes,
) -> rustix::io::Result<()> {
    let (uid, gid) = owner(attributes);
    let mode = match fchown(&file, Some(uid), Some(gid)) {
        Err(error) if is_withheld(error) => {
            tree.withhold(|withheld| &mut withheld.owners);
            attributes.mode & !SET_ID
        }
        changed => changed.map(|()| attributes.mode)?,
    };
    fchmod(file, Mode::from_raw_mode(raw_mode(mode)))
}

fn owner(attributes: Attributes) -> (Uid, Gid) {
    (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid))
}

/// Permission bits in the type that this system has for them.
pub(super) fn raw_mode(mode: u32) -> rustix::fs::RawMode {
    rustix::fs::RawMode::try_from(mode & 0o7777).expect("twelve bits fit in every system's modes")
}

pub(super) fn set(tree: &HostTree, path: &Path, attributes: Attributes) -> Result<()> {
    if let Some(file) = open(tree, path)? {
        set_open(tree, file, attributes).map_err(io::Error::from)?;
        return Ok(());
    }
    // What cannot be opened got its mode when it was made; a symlink has none.
    let (folder, name) = tree.slot(path)?;
    let (uid, gid) = owner(attributes);
    match chownat(&folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW) {
        Err(error) if is_withheld(error) => tree.withhold(|withheld| &mut withheld.owners),
        changed => changed.map_err(io::Error::from)?,
    }
    Ok(())
}

pub(super) fn set_modified(
    tree: &HostTree,
    path: &Path,
    (seconds, nanoseconds): (i64, u32),
) -> io::Result<()> {
    let (folder, name) = tree.slot(path)?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() },
    };
    Ok(utimensat(&folder, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

pub(super) fn set_xattr(
    tree: &HostTree,
    path: &Path,
    name: &str,
    value: Option<&[u8]>,
) -> io::Result<()> {
    let set = match (open(tree, path)?, value) {
        (None, _) => Err(Errno::NOTSUP),
        (Some(file), Some(value)) => fsetxattr(file, name, value, XattrFlags::empty()),
        (Some(file), None) => fremovexattr(file, name),
    };
    match set {
        Err(error) if is_withheld(error) => {
            tree.withhold(|withheld| &mut withheld.xattrs);
            Ok(())
        }
        set => Ok(set?),
    }
}
