//! Nobody else changes the image meanwhile.

use std::fs::File;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, fcntl_lock, flock};
use rustix::io::Errno;

use crate::error::{Context, Error, Result};

/// Claims an image opened at `path` until `file`, and what this returns, are closed.
pub(super) fn claim(path: &Path, file: &File) -> Result<Option<File>> {
    if file.metadata()?.file_type().is_block_device() {
        return claim_device(path).map(Some);
    }
    // QEMU takes record locks. Ours must not stay one: it would go with the first close of any of
    // this process's descriptors of the file.
    refuse_busy(path, || fcntl_lock(file, FlockOperation::NonBlockingLockExclusive))?;
    refuse_busy(path, || fcntl_lock(file, FlockOperation::Unlock))?;
    refuse_busy(path, || flock(file, FlockOperation::NonBlockingLockExclusive))?;
    Ok(None)
}

/// How long somebody who just let go of the image may still seem to hold it: a program that was
/// started meanwhile has its locks, too, until it is one.
const PATIENCE: Duration = Duration::from_secs(1);

fn refuse_busy(path: &Path, lock: impl Fn() -> rustix::io::Result<()>) -> Result<()> {
    let started = Instant::now();
    let mut locked = lock();
    while matches!(locked, Err(Errno::AGAIN | Errno::ACCESS)) && started.elapsed() < PATIENCE {
        thread::sleep(PATIENCE / 50);
        locked = lock();
    }
    match locked {
        // Some network file systems have no locks: nobody can be asked there.
        Ok(()) | Err(Errno::NOLCK | Errno::NOTSUP) => Ok(()),
        Err(Errno::AGAIN | Errno::ACCESS) => Err(in_use(path)),
        Err(error) => {
            Err(std::io::Error::from(error)).context(|| format!("locking `{}`", path.display()))
        }
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
