//! Removing a folder of whatever depth: a package's script can leave one of thousands of levels.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

/// So many levels are entered by opening a folder each. What is deeper is moved up first.
const LEVELS: usize = 100;

/// Removes a folder and all that is in it; no link is followed. Needs neither memory nor descriptors for each
/// level, which `fs::remove_dir_all` does.
///
/// # Errors
///
/// The first of the system's, `NotFound` where nothing is there. Folders may have been moved up by then. What
/// others remove meanwhile is no error: a process that is ending may still tidy up after itself.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let top = match open(CWD, path) {
        // It is a file, or a link.
        Err(Errno::NOTDIR | Errno::LOOP) => return std::fs::remove_file(path),
        opened => opened?,
    };
    let mut moved = Moved { top: &top, names: Vec::new(), count: 0 };
    moved.empty(&top, 0)?;
    while let Some(name) = moved.names.pop() {
        moved.remove_folder(&top, &name, 0)?;
    }
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Folders that were too deep, in the uppermost one.
struct Moved<'a> {
    top: &'a OwnedFd,
    names: Vec<CString>,
    count: u64,
}

impl Moved<'_> {
    fn empty(&mut self, folder: &OwnedFd, level: usize) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            if ![c".", c".."].contains(&entry.file_name()) {
                entries.push((entry.file_name().to_owned(), entry.file_type()));
            }
        }
        for (name, kind) in entries {
            let is_folder = kind == FileType::Directory
                || kind == FileType::Unknown && open(folder, name.as_c_str()).map(drop).is_ok();
            if !is_folder {
                gone(unlinkat(folder, &name, AtFlags::empty()))?;
            } else if level < LEVELS {
                self.remove_folder(folder, &name, level)?;
            } else {
                self.move_up(folder, &name)?;
            }
        }
        Ok(())
    }

    fn remove_folder(&mut self, parent: &OwnedFd, name: &CStr, level: usize) -> io::Result<()> {
        let folder = match open(parent, name) {
            Err(Errno::NOENT) => return Ok(()),
            opened => opened?,
        };
        self.empty(&folder, level + 1)?;
        drop(folder);
        Ok(gone(unlinkat(parent, name, AtFlags::REMOVEDIR))?)
    }

    fn move_up(&mut self, parent: &OwnedFd, name: &CStr) -> io::Result<()> {
        loop {
            self.count += 1;
            let new = CString::new(format!(".deep-{}", self.count)).expect("no zero in it");
            match renameat(parent, name, self.top, &new) {
                // An earlier run may have left one.
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                moved => {
                    self.names.push(new);
                    return Ok(moved?);
                }
            }
        }
    }
}

/// What somebody else removed is gone as well.
fn gone(removed: Result<(), Errno>) -> Result<(), Errno> {
    match removed {
        Err(Errno::NOENT) => Ok(()),
        removed => removed,
    }
}

fn open<P: rustix::path::Arg>(parent: impl AsFd, name: P) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use rustix::fs::mkdirat;

    use super::*;

    /// Makes so many folders, one in the other.
    fn nest(folder: &Path, levels: usize) {
        let mut at = OwnedFd::from(File::open(folder).unwrap());
        for level in 0..levels {
            mkdirat(&at, "d", Mode::RWXU).unwrap();
            if level % 500 == 0 {
                mkdirat(&at, "e", Mode::RWXU).unwrap();
                mkdirat(&at, ".deep-2", Mode::RWXU).unwrap();
            }
            at = open(&at, "d").unwrap();
        }
        drop(openat(&at, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap());
    }

    #[test]
    fn thousands_of_levels_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (tree, outside) = (folder.path().join("tree"), folder.path().join("outside"));
        fs::create_dir_all(&tree).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("file"), "stays").unwrap();
        symlink(&outside, tree.join("link")).unwrap();
        nest(&tree, 5000);
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && outside.join("file").exists());
        assert_eq!(remove_tree(&tree).unwrap_err().kind(), io::ErrorKind::NotFound);
        symlink(&outside, &tree).unwrap();
        remove_tree(&tree).unwrap();
        assert!(outside.join("file").exists());
    }

    #[test]
    fn two_can_remove_the_same_folder() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        for number in 0..2000 {
            fs::create_dir_all(tree.join(format!("{}/{number}", number % 50))).unwrap();
            fs::write(tree.join(format!("{}/{number}/file", number % 50)), "").unwrap();
        }
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| match remove_tree(&tree) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    removed => removed.unwrap(),
                });
            }
        });
        assert!(!tree.exists());
    }
}
