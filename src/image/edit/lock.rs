//! A lock that keeps other programs from changing the image meanwhile.

use std::fs::File;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

use crate::util::error::{Context, Error, Result};
use crate::util::file_lock::FileLock;

/// What keeps others from an image, until it is dropped.
#[derive(Debug)]
pub(super) enum Claim {
    Image {
        _lock: FileLock,
    },
    Device {
        _exclusive: File,
    },
    /// Some network file systems have no locks: the lock cannot be asked for there.
    None,
}

/// Claims an image opened at `path`.
pub(super) fn claim(path: &Path, file: &File) -> Result<Claim> {
    if file.metadata()?.file_type().is_block_device() {
        return claim_device(path).map(|it| Claim::Device { _exclusive: it });
    }
    // QEMU takes record locks. Ours must not stay one: it would go with the first close of any of
    // this process's descriptors of the file.
    let records = fcntl_lock(file, FlockOperation::NonBlockingLockExclusive)
        .and_then(|()| fcntl_lock(file, FlockOperation::Unlock))
        .map_err(std::io::Error::from);
    let locked = records.and_then(|()| FileLock::try_exclusive(file.try_clone()?));
    match locked {
        Ok(Some(lock)) => Ok(Claim::Image { _lock: lock }),
        Ok(None) => Err(in_use(path)),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::AGAIN | Errno::ACCESS) => Err(in_use(path)),
            Some(Errno::NOLCK | Errno::NOTSUP) => Ok(Claim::None),
            _ => Err(error).context(|| format!("locking `{}`", path.display())),
        },
    }
}

/// An exclusive open of a block device fails while it, or a part of it, is mounted.
#[cfg(target_os = "linux")]
fn claim_device(path: &Path) -> Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    let exclusive = rustix::fs::OFlags::EXCL.bits().cast_signed();
    match File::options().read(true).custom_flags(exclusive).open(path) {
        Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => Err(in_use(path)),
        opened => opened.context(|| format!("opening `{}`", path.display())),
    }
}

/// A Mac refuses to write to a disk that is mounted by itself.
#[cfg(not(target_os = "linux"))]
fn claim_device(path: &Path) -> Result<File> {
    File::open(path).context(|| format!("opening `{}`", path.display()))
}

fn in_use(path: &Path) -> Error {
    Error::failure(format!("`{}` is in use", path.display()))
        .hint("shut down the virtual machine that runs from it, unmount it, or wait for the other nodeforge")
}
