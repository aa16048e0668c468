//! Work on an image's files with its root as this process's own.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::mounts::{self, BindMount};
use crate::util::error::{Context, Result};

/// This process inside a root folder: absolute paths and links mean the image's files. Dropping it goes
/// back to the host's root.
///
/// It keeps links from leading outside, and would not keep a program: none of the image's is started
/// in it (that is [`Guest`](super::Guest)'s). Only for processes with one thread and a mount namespace
/// of their own.
pub(crate) struct Chroot {
    host: OwnedFd,
    mounted: Vec<String>,
}

impl Chroot {
    /// Enters `root`. `binds` are folders from outside and where in the root they are to be seen.
    pub(crate) fn enter(root: &Path, binds: &[(&Path, &str)]) -> Result<Self> {
        let folders: Result<Vec<_>> =
            binds.iter().map(|&(from, to)| BindMount::new(from, to)).collect();
        Self::enter_with(root, &folders?)
    }

    /// Enters `root`, with folders that are held already.
    pub(super) fn enter_with(root: &Path, folders: &[BindMount]) -> Result<Self> {
        let enter = || -> Result<Self> {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let host = rustix::fs::open("/", flags, Mode::empty()).map_err(std::io::Error::from)?;
            std::os::unix::fs::chroot(root)?;
            // From here on a failure must find the way out again: `chroot` is dropped.
            let mut chroot = Self { host, mounted: Vec::new() };
            std::env::set_current_dir("/")?;
            mounts::mount_binds(folders, &mut chroot.mounted)?;
            Ok(chroot)
        };
        enter().context(|| format!("cannot enter `{}`", root.display()))
    }

    /// Takes every mount away again and goes back to the host's root.
    pub(crate) fn leave(mut self) -> Result<()> {
        self.unmount()
    }

    /// Goes back to the host's root and leaves what is mounted.
    pub(super) fn keep_mounts(mut self) {
        self.mounted.clear();
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
