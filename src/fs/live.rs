//! The root of this process as a tree: how changes are applied inside the sandbox.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs as unix;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, SeekFrom, Timespec, Timestamps, UTIME_OMIT, XattrFlags};
use rustix::io::Errno;

use super::{Attributes, Entry, FileType, Metadata, Tree};
use crate::util::error::{Context, Result};

/// The files of the root this process is in: the kernel follows links as [`Tree`] demands.
pub(crate) struct LiveTree;

fn kind_of(file_type: fs::FileType) -> FileType {
    match file_type {
        it if it.is_dir() => FileType::Directory,
        it if it.is_symlink() => FileType::Symlink,
        it if it.is_char_device() => FileType::CharacterDevice,
        it if it.is_block_device() => FileType::BlockDevice,
        it if it.is_fifo() => FileType::Fifo,
        it if it.is_socket() => FileType::Socket,
        _ => FileType::File,
    }
}

/// `Ok(None)` instead of the error that says a path is not there.
fn optional<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn at<T>(result: io::Result<T>, path: &Path) -> Result<T> {
    result.context(|| format!("`{}`", path.display()))
}

fn set(path: &Path, attributes: Attributes) -> io::Result<()> {
    unix::lchown(path, Some(attributes.uid), Some(attributes.gid))?;
    if !fs::symlink_metadata(path)?.is_symlink() {
        // After the owner: changing that clears set-uid.
        fs::set_permissions(path, fs::Permissions::from_mode(attributes.mode))?;
    }
    Ok(())
}

fn remove_any(path: &Path) -> io::Result<()> {
    match optional(fs::symlink_metadata(path))? {
        None => Ok(()),
        Some(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Some(_) => fs::remove_file(path),
    }
}

fn replace(
    path: &Path,
    content: &mut dyn Read,
    size: u64,
    attributes: Option<Attributes>,
) -> io::Result<()> {
    let is_file = optional(fs::symlink_metadata(path))?.is_some_and(|it| it.is_file());
    if !is_file {
        // Never through a link, and a directory in its place is an error.
        optional(fs::remove_file(path))?;
    }
    let mut file = File::options().write(true).truncate(true).create(true).open(path)?;
    if io::copy(&mut content.take(size), &mut file)? < size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match attributes {
        Some(attributes) => set(path, attributes),
        None if is_file => Ok(()),
        None => set(path, Attributes { mode: 0o644, uid: 0, gid: 0 }),
    }
}

fn make_node(
    path: &Path,
    file_type: FileType,
    device: (u32, u32),
    attributes: Attributes,
) -> io::Result<()> {
    let kind = match file_type {
        FileType::CharacterDevice => rustix::fs::FileType::CharacterDevice,
        FileType::BlockDevice => rustix::fs::FileType::BlockDevice,
        FileType::Fifo => rustix::fs::FileType::Fifo,
        FileType::Socket => rustix::fs::FileType::Socket,
        FileType::File | FileType::Directory | FileType::Symlink => {
            return Err(io::ErrorKind::InvalidInput.into());
        }
    };
    optional(fs::remove_file(path))?;
    let device = rustix::fs::makedev(device.0, device.1);
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), device)?;
    set(path, attributes)
}

fn data_runs(path: &Path) -> io::Result<Vec<Range<u64>>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut runs = Vec::new();
    let mut from = 0;
    while from < size {
        let start = match rustix::fs::seek(&file, SeekFrom::Data(from)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        from = rustix::fs::seek(&file, SeekFrom::Hole(start))?.min(size);
        runs.push(start..from);
    }
    Ok(runs)
}

fn list_xattrs(path: &Path) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    let mut names = vec![0_u8; rustix::fs::llistxattr(path, &mut [0_u8; 0])?];
    let length = rustix::fs::llistxattr(path, &mut names)?;
    let mut xattrs = Vec::new();
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let name = OsStr::from_bytes(name);
        let mut value = vec![0_u8; rustix::fs::lgetxattr(path, name, &mut [0_u8; 0])?];
        let length = rustix::fs::lgetxattr(path, name, &mut value)?;
        value.truncate(length);
        xattrs.push((name.to_owned(), value));
    }
    xattrs.sort();
    Ok(xattrs)
}

impl Tree for LiveTree {
    fn metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        let Some(found) = at(optional(fs::symlink_metadata(path)), path)? else { return Ok(None) };
        let device = found.rdev();
        Ok(Some(Metadata {
            file_type: kind_of(found.file_type()),
            size: found.len(),
            mode: found.mode() & 0o7777,
            uid: found.uid(),
            gid: found.gid(),
            modified: (found.mtime(), u32::try_from(found.mtime_nsec()).unwrap_or(0)),
            links: u32::try_from(found.nlink()).unwrap_or(u32::MAX),
            inode: found.ino(),
            device: (rustix::fs::major(device), rustix::fs::minor(device)),
        }))
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<Entry>> {
        let read = || {
            let mut entries = Vec::new();
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                let file_type = kind_of(entry.file_type()?);
                entries.push(Entry { name: entry.file_name(), file_type });
            }
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(entries)
        };
        at(read(), path)
    }

    fn read_at(&self, path: &Path, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        at(File::open(path).and_then(|file| file.read_at(buffer, offset)), path)
    }

    fn read_link(&self, path: &Path) -> Result<PathBuf> {
        at(fs::read_link(path), path)
    }

    fn resolve(&self, path: &Path) -> Result<Option<PathBuf>> {
        at(optional(fs::canonicalize(path)), path)
    }

    fn data_runs(&self, path: &Path) -> Result<Vec<Range<u64>>> {
        at(data_runs(path), path)
    }

    fn xattrs(&self, path: &Path) -> Result<Vec<(OsString, Vec<u8>)>> {
        at(list_xattrs(path), path)
    }

    fn write_from(
        &mut self,
        path: &Path,
        content: &mut dyn Read,
        size: u64,
        attributes: Option<Attributes>,
    ) -> Result<()> {
        at(replace(path, content, size, attributes), path)
    }

    fn create_dir(&mut self, path: &Path, attributes: Attributes) -> Result<()> {
        let create = || {
            if !optional(fs::symlink_metadata(path))?.is_some_and(|it| it.is_dir()) {
                fs::create_dir(path)?;
            }
            set(path, attributes)
        };
        at(create(), path)
    }

    fn symlink(&mut self, path: &Path, target: &Path) -> Result<()> {
        let link = || {
            optional(fs::remove_file(path))?;
            unix::symlink(target, path)
        };
        at(link(), path)
    }

    fn hard_link(&mut self, existing: &Path, path: &Path) -> Result<()> {
        at(fs::hard_link(existing, path), path)
    }

    fn create_node(
        &mut self,
        path: &Path,
        file_type: FileType,
        device: (u32, u32),
        attributes: Attributes,
    ) -> Result<()> {
        at(make_node(path, file_type, device, attributes), path)
    }

    fn remove(&mut self, path: &Path) -> Result<()> {
        at(remove_any(path), path)
    }

    fn set_attributes(&mut self, path: &Path, attributes: Attributes) -> Result<()> {
        at(set(path, attributes), path)
    }

    fn set_modified(&mut self, path: &Path, time: (i64, u32)) -> Result<()> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: time.0, tv_nsec: time.1.into() },
        };
        let result = rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
        at(result.map_err(io::Error::from), path)
    }

    fn set_xattr(&mut self, path: &Path, name: &str, value: Option<&[u8]>) -> Result<()> {
        let result = match value {
            Some(value) => rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()),
            None => rustix::fs::lremovexattr(path, name),
        };
        at(result.map_err(io::Error::from), path)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
