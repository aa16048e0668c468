//! A folder of this machine, held open: paths in it are found without following symlinks.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

use crate::fs::{FileType, Metadata};
use crate::util::error::{Context, Error, Result};

/// A folder of this machine. Symlinks in it are never followed: what a copy from a stranger's image
/// has made there leads nowhere else.
///
/// What only root may do here (giving files away, making devices, some extended attributes) is left
/// undone when the system refuses it, and counted: see [`HostTree::withheld`].
pub struct HostTree {
    root: Rc<OwnedFd>,
    /// The folder used last.
    pub(super) recent: RefCell<Option<(PathBuf, Rc<OwnedFd>)>>,
    /// The file read last.
    pub(super) reading: RefCell<Option<(PathBuf, File)>>,
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

    pub(super) fn withhold(&self, count: impl FnOnce(&mut Withheld) -> &mut u64) {
        let mut withheld = self.withheld.get();
        *count(&mut withheld) += 1;
        self.withheld.set(withheld);
    }

    /// Opens a folder of the tree.
    pub(super) fn folder(&self, path: &Path) -> io::Result<Rc<OwnedFd>> {
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
    pub(super) fn slot<'a>(&self, path: &'a Path) -> io::Result<(Rc<OwnedFd>, &'a OsStr)> {
        match (path.parent(), path.file_name()) {
            (Some(folder), Some(name)) => Ok((self.folder(folder)?, name)),
            _ => Ok((Rc::clone(&self.root), OsStr::new("."))),
        }
    }

    pub(super) fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
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
    pub(super) fn open_existing(&self, path: &Path) -> io::Result<File> {
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
        clippy::cast_lossless,
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        reason = "the fields' types differ by system; none holds more than what is made of it"
    )]
    pub(super) fn describe(&self, stat: &Stat) -> Result<Metadata> {
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

pub(super) fn file_type(mode: rustix::fs::RawMode) -> Option<FileType> {
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
pub(super) fn at<T, E: Into<Error>>(verb: &str, path: &Path, result: Result<T, E>) -> Result<T> {
    let shown = path.strip_prefix("/").unwrap_or(path);
    result.context(|| format!("{verb} `{}`", shown.display()))
}

/// Refused to all but root, or unknown to the file system: what a copy goes on without.
pub(super) fn is_withheld(error: Errno) -> bool {
    matches!(error, Errno::PERM | Errno::ACCESS | Errno::NOTSUP | Errno::NOSYS | Errno::INVAL)
}
