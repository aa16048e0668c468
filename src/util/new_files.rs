//! Whose the files are that this process makes: under sudo, the user's behind it.
//!
//! Whoever calls sudo to write to a card wants neither a second cache of root's nor files that they cannot
//! replace. Nothing here fails: a file system that knows no owners, or lets root give nothing away, keeps
//! files as they are.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::{env, io};

use super::process::Tool;

/// A user and their group, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SudoUser {
    /// The user's number.
    pub uid: u32,
    /// The number of their group.
    pub gid: u32,
}

/// The user who called sudo, if this process is root by sudo. Only root could have root believe another.
pub fn behind_sudo() -> Option<SudoUser> {
    let number = |name| env::var(name).ok()?.parse().ok();
    let user = SudoUser { uid: number("SUDO_UID")?, gid: number("SUDO_GID")? };
    (rustix::process::geteuid().is_root() && user.uid != 0).then_some(user)
}

/// The folder that `~` stands for: under sudo that of the user behind it, which sudo replaces by root's in
/// the environment.
pub fn home() -> Option<PathBuf> {
    let own = env::var_os("HOME").map(PathBuf::from).filter(|it| it.is_absolute());
    let Some(user) = behind_sudo() else { return own };
    let is_theirs =
        |path: &PathBuf| fs::metadata(path).is_ok_and(|metadata| metadata.uid() == user.uid);
    own.clone().filter(is_theirs).or_else(|| home_of(user.uid)).or(own)
}

/// The home that the system's lists of users have.
fn home_of(uid: u32) -> Option<PathBuf> {
    let line = Tool::new("getent", "libc-bin").args(["passwd", &uid.to_string()]).run().ok()?;
    let home = PathBuf::from(line.trim_end().split(':').nth(5)?);
    home.is_absolute().then_some(home)
}

/// Opens a file to read and write, or makes it, the user's behind sudo. A link is refused: in their folder
/// root would follow it to wherever they want.
///
/// # Errors
///
/// As [`fs::OpenOptions::open`].
pub fn open_or_make(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true);
    match options.clone().create_new(true).open(path) {
        Ok(file) => {
            give(&file);
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            options.custom_flags(NO_FOLLOW).open(path)
        }
        Err(error) => Err(error),
    }
}

/// Makes a file in place of whatever had its name, a link included.
///
/// # Errors
///
/// As [`fs::OpenOptions::open`].
pub fn make_anew(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = File::options().read(true).write(true).create_new(true).open(path)?;
    give(&file);
    Ok(file)
}

/// Opens a file to read, if it is no link.
///
/// # Errors
///
/// As [`File::open`].
pub fn open_no_link(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(NO_FOLLOW).open(path)
}

/// `O_NOFOLLOW`, as a number of the C library's.
const NO_FOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

/// Gives a file just made, or a folder, to the user behind sudo.
pub fn give(file: &File) {
    let Some(user) = behind_sudo() else { return };
    if file.metadata().is_ok_and(|it| is_roots(&it)) {
        // See above.
        drop(fchown(file, Some(user.uid), Some(user.gid)));
    }
}

/// As [`give`], for what is at a path. A link is not followed.
pub fn give_path(path: &Path) {
    let Some(user) = behind_sudo() else { return };
    drop(change(path, user));
}

/// As [`give_path`], for all that is in a folder, and then the folder itself.
pub fn give_tree(path: &Path) {
    let Some(user) = behind_sudo() else { return };
    drop(change_tree(path, user));
}

/// Gives a file that is to replace the one at `path` to that one's owner, or else to the user behind sudo.
pub fn give_in_place_of(file: &File, path: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    match fs::metadata(path) {
        Ok(it) => drop(fchown(file, Some(it.uid()), Some(it.gid()))),
        Err(_) => give(file),
    }
}

/// Makes a folder, and those above it that are missing.
///
/// # Errors
///
/// As [`fs::create_dir_all`].
pub fn create_dir_all(path: &Path) -> io::Result<()> {
    let missing: Vec<_> = path
        .ancestors()
        .take_while(|it| !it.as_os_str().is_empty() && fs::symlink_metadata(it).is_err())
        .collect();
    fs::create_dir_all(path)?;
    missing.into_iter().for_each(give_path);
    Ok(())
}

/// Whether it is root's, and has no second name: that may be one of the system's files.
fn is_roots(metadata: &Metadata) -> bool {
    metadata.uid() == 0 && (metadata.is_dir() || metadata.nlink() == 1)
}

/// What was looked at is what is changed: the user can exchange what is in their folders at any time.
#[cfg(target_os = "linux")]
fn change(path: &Path, user: SudoUser) -> io::Result<()> {
    change_at(rustix::fs::CWD, path, user)
}

#[cfg(target_os = "linux")]
fn change_at(
    parent: std::os::fd::BorrowedFd<'_>,
    name: impl rustix::path::Arg,
    user: SudoUser,
) -> io::Result<()> {
    use rustix::fs::{AtFlags, Mode, OFlags, chownat, openat};
    use rustix::process::{Gid, Uid};

    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(openat(parent, name, flags, Mode::empty())?);
    if is_roots(&file.metadata()?) {
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        chownat(&file, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    }
    Ok(())
}

/// Each folder is opened once, and what is in it is reached through it: who owns the folders above can
/// put a link in their place at any time.
#[cfg(target_os = "linux")]
fn change_tree(path: &Path, user: SudoUser) -> io::Result<()> {
    use rustix::fs::{CWD, Dir, Mode, OFlags, openat};
    use std::os::fd::{AsFd, BorrowedFd};

    fn change_in(parent: BorrowedFd<'_>, name: &std::ffi::CStr, user: SudoUser) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if let Ok(folder) = openat(parent, name, flags, Mode::empty()) {
            for entry in Dir::read_from(&folder)? {
                let entry = entry?;
                if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                    change_in(folder.as_fd(), entry.file_name(), user)?;
                }
            }
        }
        change_at(parent, name, user)
    }

    let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
    change_in(CWD, &name, user)
}

#[cfg(not(target_os = "linux"))]
fn change_tree(path: &Path, user: SudoUser) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            change_tree(&entry?.path(), user)?;
        }
    }
    change(path, user)
}

#[cfg(not(target_os = "linux"))]
fn change(path: &Path, user: SudoUser) -> io::Result<()> {
    if is_roots(&fs::symlink_metadata(path)?) {
        std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid))?;
    }
    Ok(())
}
