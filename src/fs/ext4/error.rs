//! The ext4 crate's errors in our words.

use std::io;

use fs_ext4::Error as Ext4Error;

use crate::disk::Disk;
use crate::fs::repair;
use crate::util::error::Error;

/// What stops those who read structures and do not know on which disk these are.
#[derive(Debug)]
pub(super) enum Ext4Fault {
    /// What the ext4 crate says.
    Ext4(Ext4Error),
    /// The file system contradicts itself.
    Damage(String),
    /// The disk, or the user's own doing.
    Other(Error),
}

/// Their result.
pub(super) type Ext4Result<T> = Result<T, Ext4Fault>;

impl From<Ext4Error> for Ext4Fault {
    fn from(error: Ext4Error) -> Self {
        Self::Ext4(error)
    }
}

impl From<Error> for Ext4Fault {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<io::Error> for Ext4Fault {
    fn from(error: io::Error) -> Self {
        Self::Other(error.into())
    }
}

/// The file system contradicts itself.
pub(super) fn damaged(what: &str) -> Ext4Fault {
    Ext4Fault::Damage(what.to_owned())
}

/// Says it as a user would understand it; damage comes with the command that mends it on this disk.
pub(super) fn explain(fault: impl Into<Ext4Fault>, disk: &dyn Disk) -> Error {
    let error = match fault.into() {
        Ext4Fault::Ext4(error) => error,
        Ext4Fault::Damage(what) => return damage(&what, disk),
        Ext4Fault::Other(error) => return error,
    };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library adds errors; all others mean damage"
    )]
    match error {
        Ext4Error::Io(error) => error.into(),
        Ext4Error::NotFound => Error::failure("no such file or directory"),
        Ext4Error::NotADirectory => Error::input("not a directory"),
        Ext4Error::IsADirectory => Error::input("is a directory"),
        Ext4Error::AlreadyExists => Error::input("something is there already"),
        Ext4Error::DirectoryNotEmpty => Error::failure("the directory is not empty"),
        Ext4Error::ReadOnly => Error::failure("the file system is open for reading only"),
        Ext4Error::NameTooLong => Error::input("the name is too long"),
        Ext4Error::TooManyLinks => {
            Error::failure("the file has 65,000 names, and ext4 allows no more")
        }
        Ext4Error::NoSpaceLeftOnDevice => no_space(),
        // How the crate's allocators say that nothing is free.
        Ext4Error::Corrupt(what)
            if what.contains("contiguous free run") || what.contains("free inode") =>
        {
            no_space()
        }
        Ext4Error::InvalidArgument(what) | Ext4Error::Unsupported(what) => {
            Error::failure(format!("not supported on ext4: {what}"))
        }
        other => damage(&other.to_string(), disk),
    }
}

/// Space was checked before, but the blocks that are free were not where they were needed.
fn no_space() -> Error {
    Error::failure("no space left on the file system")
        .hint("give the image a larger disk (`size` under `[disk]`), or remove something from it")
}

fn damage(what: &str, disk: &dyn Disk) -> Error {
    let command = repair::e2fsprogs(disk, &["e2fsck -fy"]);
    Error::failure(format!("the ext4 file system is damaged: {what}"))
        .hint(format!("{command}, or start from a fresh image"))
}
