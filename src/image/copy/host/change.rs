//! Making and removing this machine's files.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, linkat, mkdirat, openat, renameat, symlinkat, unlinkat};
use rustix::io::Errno;

use super::folder::HostTree;
use crate::fs::{Attributes, FileType, Tree};
use crate::image::copy::host::attributes;
use crate::util::error::{Error, Result};
use crate::util::interrupt;

/// How much of a file is copied at once, in bytes; so much of nothing but zeros becomes a hole.
const CHUNK: usize = 64 << 10;

/// Removes a file from a folder when it is not renamed away first.
struct Unfinished<'a, F: AsFd> {
    folder: &'a F,
    name: OsString,
    renamed: bool,
}

impl<F: AsFd> Drop for Unfinished<'_, F> {
    fn drop(&mut self) {
        if !self.renamed {
            // What failed before is the news, not this.
            unlinkat(self.folder, &self.name, AtFlags::empty()).ok();
        }
    }
}

/// A file appears whole or not at all.
pub(super) fn write(
    tree: &HostTree,
    path: &Path,
    content: &mut dyn Read,
    size: u64,
    attributes: Option<Attributes>,
) -> Result<()> {
    let there = tree.metadata(path)?;
    if there.as_ref().is_some_and(|there| there.file_type == FileType::Directory) {
        return Err(Error::input("there is a directory already"));
    }
    let attributes = attributes.or(there.map(|there| there.attributes()));
    let (folder, name) = tree.slot(path)?;
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| Error::failure(error.to_string()))?;
    let temporary = OsString::from(format!(".nodeforge-{:016x}", u64::from_le_bytes(random)));
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    // Without attributes, as any program makes a file; else unreadable until it is its owner's.
    let mode = if attributes.is_some() { 0o600 } else { 0o666 };
    let mode = Mode::from_raw_mode(attributes::raw_mode(mode));
    let file = openat(&*folder, &temporary, flags, mode).map_err(io::Error::from)?;
    let mut unfinished = Unfinished { folder: &*folder, name: temporary, renamed: false };
    let mut file = File::from(file);
    fill(&mut file, content, size)?;
    if let Some(attributes) = attributes {
        attributes::set_open(tree, &file, attributes).map_err(io::Error::from)?;
    }
    renameat(&*folder, &unfinished.name, &*folder, name).map_err(io::Error::from)?;
    unfinished.renamed = true;
    Ok(())
}

fn fill(file: &mut File, content: &mut dyn Read, size: u64) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut left = size;
    while left > 0 {
        interrupt::check()?;
        let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let chunk = &mut buffer[..length];
        content.read_exact(chunk)?;
        if chunk.iter().all(|&byte| byte == 0) {
            file.seek(SeekFrom::Current(i64::try_from(length).expect("a chunk is small")))?;
        } else {
            file.write_all(chunk)?;
        }
        left -= length as u64;
    }
    Ok(file.set_len(size)?)
}

/// Removes what is not a directory.
fn vacate(tree: &HostTree, path: &Path) -> Result<()> {
    match tree.metadata(path)?.map(|there| there.file_type) {
        None => Ok(()),
        Some(FileType::Directory) => Err(Error::input("there is a directory already")),
        Some(_) => {
            let (folder, name) = tree.slot(path)?;
            Ok(unlinkat(&folder, name, AtFlags::empty()).map_err(io::Error::from)?)
        }
    }
}

pub(super) fn create_dir(tree: &HostTree, path: &Path, attributes: Attributes) -> Result<()> {
    let (folder, name) = tree.slot(path)?;
    match mkdirat(&folder, name, Mode::RWXU) {
        // A symlink in its place is not opened below.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(io::Error::from(error).into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = openat(&folder, name, flags, Mode::empty()).map_err(io::Error::from)?;
    Ok(attributes::set_open(tree, made, attributes).map_err(io::Error::from)?)
}

pub(super) fn symlink(tree: &HostTree, path: &Path, target: &Path) -> Result<()> {
    vacate(tree, path)?;
    let (folder, name) = tree.slot(path)?;
    Ok(symlinkat(target, &folder, name).map_err(io::Error::from)?)
}

pub(super) fn hard_link(tree: &HostTree, existing: &Path, path: &Path) -> Result<()> {
    vacate(tree, path)?;
    let (from, old) = tree.slot(existing)?;
    let (to, new) = tree.slot(path)?;
    Ok(linkat(&from, old, &to, new, AtFlags::empty()).map_err(io::Error::from)?)
}

#[cfg(not(target_vendor = "apple"))]
pub(super) fn create_node(
    tree: &HostTree,
    path: &Path,
    file_type: FileType,
    (major, minor): (u32, u32),
    attributes: Attributes,
) -> Result<()> {
    use rustix::fs::{FileType as Host, makedev, mknodat};

    let host = match file_type {
        FileType::CharacterDevice => Host::CharacterDevice,
        FileType::BlockDevice => Host::BlockDevice,
        FileType::Fifo => Host::Fifo,
        FileType::Socket => Host::Socket,
        FileType::File | FileType::Directory | FileType::Symlink => {
            return Err(Error::input("not a device, pipe or socket"));
        }
    };
    vacate(tree, path)?;
    let (folder, name) = tree.slot(path)?;
    let mode = Mode::from_raw_mode(attributes::raw_mode(attributes.mode));
    match mknodat(&folder, name, host, mode, makedev(major, minor)) {
        Ok(()) => attributes::set(tree, path, attributes),
        Err(Errno::PERM) => {
            tree.withhold(|withheld| &mut withheld.devices);
            Ok(())
        }
        Err(error) => Err(io::Error::from(error).into()),
    }
}

/// A Mac's devices are not Linux's.
#[cfg(target_vendor = "apple")]
#[expect(clippy::unnecessary_wraps, reason = "on Linux it can fail")]
pub(super) fn create_node(
    tree: &HostTree,
    _path: &Path,
    _file_type: FileType,
    _device: (u32, u32),
    _attributes: Attributes,
) -> Result<()> {
    tree.withhold(|withheld| &mut withheld.devices);
    Ok(())
}

pub(super) fn remove(tree: &HostTree, path: &Path) -> Result<()> {
    let Some(there) = tree.metadata(path)? else { return Ok(()) };
    if there.file_type != FileType::Directory {
        return vacate(tree, path);
    }
    for entry in tree.read_dir(path)? {
        remove(tree, &path.join(entry.name))?;
    }
    let (folder, name) = tree.slot(path)?;
    Ok(unlinkat(&folder, name, AtFlags::REMOVEDIR).map_err(io::Error::from)?)
}
