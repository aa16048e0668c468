//! Work with an image's root as this process's own root.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::mounts::{self, BindMount};
use crate::util::error::{Context, Result};

/// This process inside a root folder: absolute paths and links mean the image's files, and programs
/// started are the image's. Dropping it goes back to the host's root.
///
/// Only for the worker, which has one thread and a mount namespace of its own.
pub(crate) struct Chroot {
    host: OwnedFd,
    mounted: Vec<String>,
}

impl Chroot {
    /// Enters `root`. `binds` are folders from outside and where in the root they are to be seen.
    pub(crate) fn enter(root: &Path, binds: &[(&Path, &str)]) -> Result<Self> {
        Self::enter_with(root, &[], binds)
    }

    /// Enters `root` to run its programs: with private `/proc`, `/sys`, `/dev`, `/run` and `/tmp`.
    pub(crate) fn enter_to_run(root: &Path, binds: &[(&Path, &str)]) -> Result<Self> {
        Self::enter_with(root, &mounts::devices()?, binds)
    }

    fn enter_with(root: &Path, devices: &[BindMount], binds: &[(&Path, &str)]) -> Result<Self> {
        let enter = || -> Result<Self> {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let host = rustix::fs::open("/", flags, Mode::empty()).map_err(std::io::Error::from)?;
            let folders = binds
                .iter()
                .map(|&(from, to)| BindMount::new(from, to))
                .collect::<Result<Vec<_>>>()?;
            std::os::unix::fs::chroot(root)?;
            // From here on a failure must find the way out again: `chroot` is dropped.
            let mut chroot = Self { host, mounted: Vec::new() };
            std::env::set_current_dir("/")?;
            if !devices.is_empty() {
                mounts::mount_systems(devices, &mut chroot.mounted)?;
            }
            mounts::mount_binds(&folders, &mut chroot.mounted)?;
            Ok(chroot)
        };
        enter().context(|| format!("cannot enter `{}`", root.display()))
    }

    /// Takes every mount away again and goes back to the host's root.
    pub(crate) fn leave(mut self) -> Result<()> {
        self.unmount()
    }

    fn unmount(&mut self) -> Result<()> {
        while let Some(path) = self.mounted.pop() {
            mounts::unmount(&path)?;
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
