//! A tree unpacked into a folder of this machine, with everything a Linux file system keeps.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType as HostType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, XattrFlags,
};
use rustix::process::{Gid, Uid};

use crate::fs::{Entry, FileType, Metadata, Tree};
use crate::util::error::{Context, Error, Result};

/// How much of a file is copied at once, in bytes.
const CHUNK: usize = 1 << 20;

/// The smallest run of zeros that becomes a hole, in bytes.
const HOLE: usize = 64 << 10;

/// As deep as directories are followed: each takes a file descriptor.
const MAX_DEPTH: usize = 256;

/// More names than any system has: directories that contain each other have endlessly many.
const MAX_ENTRIES: u64 = 10_000_000;

/// A device that could not be made here, to be made in the finished image instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNode {
    /// Where, from the tree's root.
    pub path: PathBuf,
    /// Character or block device.
    pub file_type: FileType,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
}

/// What was unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Names made, directories included.
    pub entries: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Devices that a user namespace does not let be made.
    pub devices: Vec<DeviceNode>,
}

/// Unpacks `tree` into the empty folder `into`: owners, modes, times to the nanosecond, extended
/// attributes, hard links, holes. Needs the rights of root, if only those of a user namespace's;
/// what such a root may not make are devices, which are returned.
pub fn extract(tree: &dyn Tree, into: &Path) -> Result<Extracted> {
    let folder = rustix::fs::open(into, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(io::Error::from)
        .context(|| format!("opening `{}`", into.display()))?;
    let root = tree.metadata(Path::new("/"))?.ok_or_else(|| Error::failure("it has no root"))?;
    let mut extraction = Extraction {
        tree,
        into,
        done: Extracted::default(),
        linked: HashMap::new(),
        entered: HashSet::new(),
        buffer: vec![0; CHUNK],
    };
    let mut path = PathBuf::from("/");
    extraction.fill(&folder, &mut path, &root)?;
    Ok(extraction.done)
}

struct Extraction<'a> {
    tree: &'a dyn Tree,
    into: &'a Path,
    done: Extracted,
    /// The first name of each file that has several, from the tree's root.
    linked: HashMap<u64, PathBuf>,
    /// Directories that were entered: none contains itself.
    entered: HashSet<u64>,
    buffer: Vec<u8>,
}

impl Extraction<'_> {
    /// Unpacks what is in the directory `path` into `folder`, then finishes `folder` itself.
    fn fill(&mut self, folder: &OwnedFd, path: &mut PathBuf, metadata: &Metadata) -> Result<()> {
        let is_new = metadata.inode == 0 || self.entered.insert(metadata.inode);
        let is_endless = path.components().count() > MAX_DEPTH || self.done.entries > MAX_ENTRIES;
        if !is_new || is_endless {
            return Err(Error::failure(format!(
                "the file system is damaged: `{}` contains itself",
                path.display()
            )));
        }
        let entries = self.tree.read_dir(path)?;
        // Directories last: until then the tree remembers this one.
        let (directories, others): (Vec<Entry>, Vec<Entry>) =
            entries.into_iter().partition(|entry| entry.file_type == FileType::Directory);
        for entry in others.into_iter().chain(directories) {
            check_name(&entry.name).context(|| format!("unpacking `{}`", path.display()))?;
            path.push(&entry.name);
            self.unpack(folder, &entry, path)?;
            path.pop();
        }
        self.finish(folder, path, metadata)
    }

    fn unpack(&mut self, folder: &OwnedFd, entry: &Entry, path: &mut PathBuf) -> Result<()> {
        let metadata = self.tree.metadata(path)?;
        let metadata = metadata.ok_or_else(|| Error::failure("a listed name is not there"))?;
        self.done.entries += 1;
        if metadata.file_type == FileType::Directory {
            let made = make_directory(folder, &entry.name);
            let inside = made.context(|| unpacking(path))?;
            return self.fill(&inside, path, &metadata);
        }
        if metadata.links > 1 && metadata.inode != 0 {
            if let Some(first) = self.linked.get(&metadata.inode) {
                let first = self.into.join(first.strip_prefix("/").unwrap_or(first));
                return rustix::fs::linkat(CWD, first, folder, &entry.name, AtFlags::empty())
                    .map_err(io::Error::from)
                    .context(|| unpacking(path));
            }
            self.linked.insert(metadata.inode, path.clone());
        }
        match metadata.file_type {
            FileType::File => self.unpack_file(folder, &entry.name, path, &metadata),
            FileType::Symlink => {
                let target = self.tree.read_link(path)?;
                rustix::fs::symlinkat(target, folder, &entry.name)
                    .map_err(io::Error::from)
                    .context(|| unpacking(path))?;
                self.finish_name(folder, &entry.name, path, &metadata)
            }
            FileType::Directory
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Fifo
            | FileType::Socket => self.unpack_special(folder, &entry.name, path, &metadata),
        }
    }

    fn unpack_file(
        &mut self,
        folder: &OwnedFd,
        name: &OsStr,
        path: &Path,
        metadata: &Metadata,
    ) -> Result<()> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(folder, name, flags, Mode::from(0o600))
            .map_err(io::Error::from)
            .context(|| unpacking(path))?;
        let file = File::from(file);
        let mut end = 0;
        for run in self.tree.data_runs(path)? {
            let mut offset = run.start;
            while offset < run.end {
                let length = usize::try_from(run.end - offset).unwrap_or(CHUNK).min(CHUNK);
                let read = self.tree.read_at(path, offset, &mut self.buffer[..length])?;
                if read == 0 {
                    break;
                }
                end = self.write(&file, offset, read).context(|| unpacking(path))?.max(end);
                offset += read as u64;
            }
        }
        if end < metadata.size {
            file.set_len(metadata.size).context(|| unpacking(path))?;
        }
        self.finish(&file, path, metadata)
    }

    /// Writes the beginning of the buffer, without its longer runs of zeros. Returns where what
    /// was written ends.
    fn write(&mut self, file: &File, offset: u64, length: usize) -> io::Result<u64> {
        let mut end = 0;
        let mut at = 0;
        while at < length {
            let is_zero = |from: usize| {
                let run = &self.buffer[from..(from + HOLE).min(length)];
                run.iter().all(|&byte| byte == 0)
            };
            let start = at;
            while at < length && !is_zero(at) {
                at = (at + HOLE).min(length);
            }
            if at > start {
                file.write_all_at(&self.buffer[start..at], offset + start as u64)?;
                end = offset + at as u64;
                self.done.bytes += (at - start) as u64;
            }
            if at < length {
                at += HOLE;
            }
        }
        Ok(end)
    }

    fn unpack_special(
        &mut self,
        folder: &OwnedFd,
        name: &OsStr,
        path: &Path,
        metadata: &Metadata,
    ) -> Result<()> {
        let (major, minor) = metadata.device;
        let host_type = match metadata.file_type {
            FileType::CharacterDevice => HostType::CharacterDevice,
            FileType::BlockDevice => HostType::BlockDevice,
            FileType::Fifo => HostType::Fifo,
            FileType::Socket => HostType::Socket,
            FileType::File | FileType::Directory | FileType::Symlink => {
                return Err(Error::failure("not a device, pipe or socket"));
            }
        };
        let is_device = matches!(host_type, HostType::CharacterDevice | HostType::BlockDevice);
        let device = rustix::fs::makedev(major, minor);
        match rustix::fs::mknodat(folder, name, host_type, Mode::from(0o600), device) {
            Ok(()) => self.finish_name(folder, name, path, metadata),
            Err(rustix::io::Errno::PERM) if is_device => {
                self.done.devices.push(DeviceNode {
                    path: path.to_owned(),
                    file_type: metadata.file_type,
                    major,
                    minor,
                    mode: metadata.mode,
                    uid: metadata.uid,
                    gid: metadata.gid,
                });
                Ok(())
            }
            Err(error) => Err(io::Error::from(error)).context(|| unpacking(path)),
        }
    }

    /// Owner, mode, attributes and time of an open file or directory, in the order in which none
    /// undoes another: a new owner clears set-uid and capabilities.
    fn finish(&self, file: impl AsFd, path: &Path, metadata: &Metadata) -> Result<()> {
        let finish = || -> io::Result<()> {
            let (uid, gid) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
            rustix::fs::fchown(&file, Some(uid), Some(gid))?;
            rustix::fs::fchmod(&file, Mode::from(metadata.mode))?;
            for (name, value) in self.tree.xattrs(path)? {
                rustix::fs::fsetxattr(&file, &name, &value, XattrFlags::empty())
                    .map_err(|error| naming(&name, error))?;
            }
            rustix::fs::futimens(&file, &times(metadata))?;
            Ok(())
        };
        finish().context(|| unpacking(path))
    }

    /// As [`Extraction::finish`], for what cannot be opened: symlinks, devices, pipes.
    fn finish_name(
        &self,
        folder: &OwnedFd,
        name: &OsStr,
        path: &Path,
        metadata: &Metadata,
    ) -> Result<()> {
        let finish = || -> io::Result<()> {
            let (uid, gid) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
            let nofollow = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(folder, name, Some(uid), Some(gid), nofollow)?;
            if metadata.file_type != FileType::Symlink {
                rustix::fs::chmodat(folder, name, Mode::from(metadata.mode), AtFlags::empty())?;
            }
            let host = self.into.join(path.strip_prefix("/").unwrap_or(path));
            for (name, value) in self.tree.xattrs(path)? {
                rustix::fs::lsetxattr(&host, &name, &value, XattrFlags::empty())
                    .map_err(|error| naming(&name, error))?;
            }
            rustix::fs::utimensat(folder, name, &times(metadata), nofollow)?;
            Ok(())
        };
        finish().context(|| unpacking(path))
    }
}

fn make_directory(folder: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    rustix::fs::mkdirat(folder, name, Mode::from(0o700))?;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(folder, name, flags, Mode::empty())?)
}

/// The names come from a stranger's image: none may lead out of its directory.
fn check_name(name: &OsStr) -> Result<()> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        return Err(Error::failure(format!("`{}` is not a valid file name", name.display())));
    }
    Ok(())
}

fn times(metadata: &Metadata) -> Timestamps {
    let (seconds, nanoseconds) = metadata.modified;
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() },
    }
}

fn naming(attribute: &OsStr, error: rustix::io::Errno) -> io::Error {
    let error = Error::from(io::Error::from(error));
    error.context(format!("setting `{}`", attribute.display())).into()
}

fn unpacking(path: &Path) -> String {
    format!("unpacking `{}`", path.display())
}
