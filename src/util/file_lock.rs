//! Locks that keep other processes away.

use std::fs::File;
use std::io;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// A lock of a file or a folder (flock(2)), until it is dropped.
///
/// It is given back explicitly: closing the file alone would leave it with a program that is being
/// started just then, which has all of this process's files until it is itself.
#[derive(Debug)]
pub(crate) struct FileLock(File);

impl FileLock {
    /// Waits until no other process has a lock.
    pub(crate) fn exclusive(file: File) -> io::Result<Self> {
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(Self(file))
    }

    /// Waits until no process has an exclusive lock.
    pub(crate) fn shared(file: File) -> io::Result<Self> {
        flock(&file, FlockOperation::LockShared)?;
        Ok(Self(file))
    }

    /// `None` where somebody else has a lock.
    pub(crate) fn try_exclusive(file: File) -> io::Result<Option<Self>> {
        Self::attempt(file, FlockOperation::NonBlockingLockExclusive)
    }

    /// `None` where somebody else has an exclusive lock.
    pub(crate) fn try_shared(file: File) -> io::Result<Option<Self>> {
        Self::attempt(file, FlockOperation::NonBlockingLockShared)
    }

    fn attempt(file: File, operation: FlockOperation) -> io::Result<Option<Self>> {
        match flock(&file, operation) {
            Ok(()) => Ok(Some(Self(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing it does the same, later.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_file_does_not_keep_the_lock() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || File::open(folder.path()).expect("it opens");
        let file = open();
        // As a child has one between fork and exec.
        let copy = file.try_clone().expect("a second descriptor");
        let lock = FileLock::shared(file).expect("nobody has it");
        assert!(FileLock::try_exclusive(open()).expect("asked").is_none());
        drop(lock);
        assert!(FileLock::try_exclusive(open()).expect("asked").is_some());
        drop(copy);
    }
}
