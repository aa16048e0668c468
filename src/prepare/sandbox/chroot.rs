//! Work with an image's root as this process's own root.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

use super::mounts::{self, Lent};
use crate::error::{Context, Result};

/// This process inside a root folder, with private `/proc`, `/sys`, `/dev`, `/run` and `/tmp`.
/// Dropping it goes back to the host's root.
///
/// Absolute paths and links mean the image's files, and programs started are the image's.
/// Only for the worker, which has one thread and a mount namespace of its own.
pub(crate) struct Chroot {
    host: OwnedFd,
    mounted: Vec<&'static str>,
}

impl Chroot {
    /// Enters `root`. `lent` are folders of the host and where in the root they are to be seen.
    pub(crate) fn enter(root: &Path, lent: &[(&Path, &'static str)]) -> Result<Self> {
        let enter = || -> Result<Self> {
            let host = rustix::fs::openat(
                CWD,
                "/",
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .map_err(std::io::Error::from)?;
            let devices = mounts::devices()?;
            let folders =
                lent.iter().map(|&(from, to)| Lent::new(from, to)).collect::<Result<Vec<_>>>()?;
            std::os::unix::fs::chroot(root)?;
            std::env::set_current_dir("/")?;
            let mut chroot = Self { host, mounted: Vec::new() };
            // From here on a failure must find the way out again: `chroot` is dropped.
            mounts::mount_all(&devices, &folders, &mut chroot.mounted)?;
            Ok(chroot)
        };
        enter().context(|| format!("entering `{}`", root.display()))
    }

    /// Takes every mount away again: from here on, only the image's own files are there.
    pub(crate) fn unmount(&mut self) -> Result<()> {
        while let Some(path) = self.mounted.pop() {
            mounts::unmount(path)?;
        }
        Ok(())
    }
}

impl Drop for Chroot {
    fn drop(&mut self) {
        // What stays mounted goes with the worker's namespace; the way out cannot fail for root.
        drop(self.unmount());
        let _ = rustix::process::fchdir(&self.host);
        drop(std::os::unix::fs::chroot("."));
        drop(std::env::set_current_dir("/"));
    }
}
