//! A folder of this machine as a tree.

mod attributes;
mod change;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, Stat, openat, readlinkat, statat};
use rustix::io::Errno;

use super::Target;
use crate::fs::{Attributes, Entry, FileType, Metadata, Tree};
use crate::util::error::{Context, Error, Result};

/// A folder of this machine. Symlinks in it are never followed: what a copy from a stranger's image
/// has made there leads nowhere else.
///
/// What only root may do here (giving files away, making devices, some extended attributes) is left
/// undone when the system refuses it, and counted: see [`HostTree::withheld`].
pub struct HostTree {
    root: Rc<OwnedFd>,
    /// The folder used last.
    recent: RefCell<Option<(PathBuf, Rc<OwnedFd>)>>,
    /// The file read last.
    reading: RefCell<Option<(PathBuf, File)>>,
    /// Numbers of files with several names, by device and inode.
    several: RefCell<HashMap<(u64, u64), u64>>,
    withheld: Cell<Withheld>,
}

/// How much could not be kept because the system reserves it to root, or has no place for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Withheld {
    /// Paths with another owner than they should have.
    pub owners: u64,
    /// Extended attributes left out.
    pub xattrs: u64,
    /// Devices left out.
    pub devices: u64,
}

impl HostTree {
    /// Opens a folder; symlinks on the way to it are followed.
    pub fn open(folder: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(folder, flags, Mode::empty())
            .map_err(io::Error::from)
            .context(|| format!("opening `{}`", folder.display()))?;
        Ok(Self {
            root: Rc::new(root),
            recent: RefCell::new(None),
            reading: RefCell::new(None),
            several: RefCell::new(HashMap::new()),
            withheld: Cell::new(Withheld::default()),
        })
    }

    /// What could not be kept so far.
    pub fn withheld(&self) -> Withheld {
        self.withheld.get()
    }

    fn withhold(&self, count: impl FnOnce(&mut Withheld) -> &mut u64) {
        let mut withheld = self.withheld.get();
        *count(&mut withheld) += 1;
        self.withheld.set(withheld);
    }

    /// Opens a folder of the tree.
    fn folder(&self, path: &Path) -> io::Result<Rc<OwnedFd>> {
        let mut recent = self.recent.borrow_mut();
        if let Some((known, folder)) = &*recent
            && known == path
        {
            return Ok(Rc::clone(folder));
        }
        let (mut folder, rest) = match &*recent {
            Some((known, folder)) if path.starts_with(known) => {
                (Rc::clone(folder), path.strip_prefix(known).unwrap_or(path))
            }
            _ => (Rc::clone(&self.root), path),
        };
        for component in rest.components() {
            let name = match component {
                Component::RootDir | Component::CurDir => continue,
                Component::Normal(name) => name,
                Component::Prefix(_) | Component::ParentDir => {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
            };
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            folder = Rc::new(openat(&folder, name, flags, Mode::empty())?);
        }
        *recent = Some((path.to_owned(), Rc::clone(&folder)));
        Ok(folder)
    }

    /// The folder that a path is in, and its name there; `.` for the root.
    fn slot<'a>(&self, path: &'a Path) -> io::Result<(Rc<OwnedFd>, &'a OsStr)> {
        match (path.parent(), path.file_name()) {
            (Some(folder), Some(name)) => Ok((self.folder(folder)?, name)),
            _ => Ok((Rc::clone(&self.root), OsStr::new("."))),
        }
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let found = self.slot(path).and_then(|(folder, name)| {
            Ok(statat(folder.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)?)
        });
        match found {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a file or folder without following it, and without waiting for a pipe's other end.
    fn open_existing(&self, path: &Path) -> io::Result<File> {
        let (folder, name) = self.slot(path)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(File::from(openat(&folder, name, flags, Mode::empty())?))
    }

    /// A number for a file with several names; 0 for one with a single name.
    fn inode(&self, stat: &Stat, links: u32) -> u64 {
        if links < 2 {
            return 0;
        }
        let mut several = self.several.borrow_mut();
        let next = several.len() as u64 + 1;
        #[allow(
            clippy::unnecessary_cast,
            clippy::cast_sign_loss,
            reason = "types differ by system"
        )]
        *several.entry((stat.st_dev as u64, stat.st_ino as u64)).or_insert(next)
    }

    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        reason = "the fields' types differ by system; none holds more than what is made of it"
    )]
    fn describe(&self, stat: &Stat) -> Result<Metadata> {
        let file_type = file_type(stat.st_mode as rustix::fs::RawMode)
            .ok_or_else(|| Error::failure("it is of an unknown type"))?;
        let is_device = matches!(file_type, FileType::CharacterDevice | FileType::BlockDevice);
        let links = if file_type == FileType::Directory { 1 } else { stat.st_nlink as u32 };
        let number = stat.st_rdev as rustix::fs::Dev;
        Ok(Metadata {
            file_type,
            size: stat.st_size as u64,
            mode: stat.st_mode as u32 & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            links,
            inode: self.inode(stat, links),
            device: if is_device {
                (rustix::fs::major(number) as u32, rustix::fs::minor(number) as u32)
            } else {
                (0, 0)
            },
        })
    }
}

fn file_type(mode: rustix::fs::RawMode) -> Option<FileType> {
    use rustix::fs::FileType as Host;
    Some(match Host::from_raw_mode(mode) {
        Host::RegularFile => FileType::File,
        Host::Directory => FileType::Directory,
        Host::Symlink => FileType::Symlink,
        Host::CharacterDevice => FileType::CharacterDevice,
        Host::BlockDevice => FileType::BlockDevice,
        Host::Fifo => FileType::Fifo,
        Host::Socket => FileType::Socket,
        Host::Unknown => return None,
    })
}

/// Says which path an error is about.
fn at<T, E: Into<Error>>(verb: &str, path: &Path, result: Result<T, E>) -> Result<T> {
    let shown = path.strip_prefix("/").unwrap_or(path);
    result.context(|| format!("{verb} `{}`", shown.display()))
}

impl Target for HostTree {
    fn keeps_attributes(&self, _path: &Path) -> bool {
        true
    }
}

impl Tree for HostTree {
    fn metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        let metadata =
            || -> Result<_> { self.stat(path)?.map(|stat| self.describe(&stat)).transpose() };
        at("looking at", path, metadata())
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<Entry>> {
        let list = || -> Result<Vec<Entry>> {
            let folder = self.folder(path)?;
            let mut entries = Vec::new();
            for entry in Dir::read_from(&folder).map_err(io::Error::from)? {
                let entry = entry.map_err(io::Error::from)?;
                let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
                if name == "." || name == ".." {
                    continue;
                }
                let stat = statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW);
                let mode = stat.map_err(io::Error::from)?.st_mode;
                let file_type = file_type(mode)
                    .ok_or_else(|| Error::failure("it has an unknown type in it"))?;
                entries.push(Entry { name, file_type });
            }
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(entries)
        };
        at("listing", path, list())
    }

    fn read_at(&self, path: &Path, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut read = || -> Result<usize> {
            let mut reading = self.reading.borrow_mut();
            if let Some((known, file)) = &*reading
                && known == path
            {
                return Ok(file.read_at(buffer, offset)?);
            }
            let file = self.open_existing(path)?;
            if !file.metadata()?.is_file() {
                return Err(Error::input("not a regular file"));
            }
            let read = file.read_at(buffer, offset)?;
            *reading = Some((path.to_owned(), file));
            Ok(read)
        };
        at("reading", path, read())
    }

    fn data_runs(&self, path: &Path) -> Result<Vec<Range<u64>>> {
        let size = self.metadata(path)?.map_or(0, |metadata| metadata.size);
        let all = (size > 0).then_some(0..size);
        Ok(all.into_iter().collect())
    }

    fn read_link(&self, path: &Path) -> Result<PathBuf> {
        let read = || -> io::Result<PathBuf> {
            let (folder, name) = self.slot(path)?;
            let target = readlinkat(&folder, name, Vec::new())?;
            Ok(OsString::from_vec(target.into_bytes()).into())
        };
        at("reading the symlink", path, read())
    }

    /// The path itself: nothing is followed here.
    fn resolve(&self, path: &Path) -> Result<Option<PathBuf>> {
        Ok(at("resolving", path, self.stat(path))?.map(|_| path.to_owned()))
    }

    fn xattrs(&self, path: &Path) -> Result<Vec<(OsString, Vec<u8>)>> {
        at("reading the extended attributes of", path, attributes::read(self, path))
    }

    fn write_from(
        &mut self,
        path: &Path,
        content: &mut dyn Read,
        size: u64,
        attributes: Option<Attributes>,
    ) -> Result<()> {
        *self.reading.get_mut() = None;
        at("writing", path, change::write(self, path, content, size, attributes))
    }

    fn create_dir(&mut self, path: &Path, attributes: Attributes) -> Result<()> {
        at("making the directory", path, change::create_dir(self, path, attributes))
    }

    fn symlink(&mut self, path: &Path, target: &Path) -> Result<()> {
        at("making the symlink", path, change::symlink(self, path, target))
    }

    fn hard_link(&mut self, existing: &Path, path: &Path) -> Result<()> {
        at("linking", path, change::hard_link(self, existing, path))
    }

    fn create_node(
        &mut self,
        path: &Path,
        file_type: FileType,
        device: (u32, u32),
        attributes: Attributes,
    ) -> Result<()> {
        at("making", path, change::create_node(self, path, file_type, device, attributes))
    }

    fn remove(&mut self, path: &Path) -> Result<()> {
        *self.recent.borrow_mut() = None;
        at("removing", path, change::remove(self, path))
    }

    fn set_attributes(&mut self, path: &Path, attributes: Attributes) -> Result<()> {
        at("setting owner and mode of", path, attributes::set(self, path, attributes))
    }

    fn set_modified(&mut self, path: &Path, time: (i64, u32)) -> Result<()> {
        at("setting the time of", path, attributes::set_modified(self, path, time))
    }

    fn set_xattr(&mut self, path: &Path, name: &str, value: Option<&[u8]>) -> Result<()> {
        at("setting an extended attribute of", path, attributes::set_xattr(self, path, name, value))
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Refused to all but root, or unknown to the file system: what a copy goes on without.
fn is_withheld(error: Errno) -> bool {
    matches!(error, Errno::PERM | Errno::ACCESS | Errno::NOTSUP | Errno::NOSYS | Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    const ATTRIBUTES: Attributes = Attributes { mode: 0o640, uid: 0, gid: 0 };

    #[test]
    fn nothing_leads_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        let inside = folder.path().join("inside");
        for folder in [&outside, &inside] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(outside.join("file"), "untouched").unwrap();
        symlink(&outside, inside.join("folder")).unwrap();
        symlink(outside.join("file"), inside.join("file")).unwrap();
        let mut tree = HostTree::open(&inside).unwrap();
        for path in ["/folder/new", "/../outside/new", "/folder/../new"] {
            assert!(tree.write(Path::new(path), b"x", Some(ATTRIBUTES)).is_err(), "{path}");
            assert!(tree.create_dir(Path::new(path), ATTRIBUTES).is_err(), "{path}");
            assert!(tree.symlink(Path::new(path), Path::new("x")).is_err(), "{path}");
        }
        assert!(tree.create_dir(Path::new("/folder"), ATTRIBUTES).is_err());
        assert!(tree.read(Path::new("/file"), 100).is_err());
        tree.write(Path::new("/file"), b"replaced", Some(ATTRIBUTES)).unwrap();
        assert_eq!(fs::read(outside.join("file")).unwrap(), b"untouched");
        assert_eq!(fs::read(inside.join("file")).unwrap(), b"replaced");
        tree.remove(Path::new("/folder")).unwrap();
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(fs::read_dir(&inside).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_written_whole_does_not_appear() {
        let folder = tempfile::tempdir().unwrap();
        let mut tree = HostTree::open(folder.path()).unwrap();
        let mut short: &[u8] = b"three";
        let path = Path::new("/file");
        assert!(tree.write_from(path, &mut short, 100, Some(ATTRIBUTES)).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn zeros_become_holes() {
        let folder = tempfile::tempdir().unwrap();
        let mut tree = HostTree::open(folder.path()).unwrap();
        let mut content = vec![0; 1 << 20];
        content[500_000] = 1;
        tree.write(Path::new("/sparse"), &content, None).unwrap();
        let file = folder.path().join("sparse");
        assert!(fs::read(&file).unwrap() == content);
        assert!(fs::metadata(&file).unwrap().blocks() * 512 < 200_000);
    }
}
