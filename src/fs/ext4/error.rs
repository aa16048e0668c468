//! The ext4 crate's errors in our words.

use fs_ext4::Error as Ext4Error;

use crate::util::error::Error;

/// Says it as a user would understand it; damage comes with the command that mends it.
pub(super) fn explain(error: Ext4Error) -> Error {
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
        other => damaged(&other.to_string()),
    }
}

/// Space was checked before, but the blocks that are free were not where they were needed.
fn no_space() -> Error {
    Error::failure("no space left on the file system")
        .hint("give the image a larger disk (`size` under `[disk]`), or remove something from it")
}

/// The file system contradicts itself.
pub(super) fn damaged(what: &str) -> Error {
    Error::failure(format!("the ext4 file system is damaged: {what}"))
        .hint("repair the partition with `e2fsck -f`, or start from a fresh image")
}
