//! Programs of an image, each run behind a boundary of its own.
//!
//! The worker, which is trusted, starts `unshare`, and that a copy of nodeforge which shuts itself in
//! ([`confine`](super::confine)) before it becomes the program. So a program shares neither processes
//! nor mounts, nor descriptors, nor a terminal with the worker, and all that it starts ends with it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::chroot::Chroot;
use super::job::json_error;
use super::{mounts, namespaces, start};
use crate::util::error::{Context as _, Result};

/// Whether programs reach anything but themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// This machine's.
    Host,
    /// A loopback interface, alone.
    Loopback,
}

/// A folder of the host that is seen in the root.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Bind {
    pub(super) from: PathBuf,
    pub(super) to: String,
    pub(super) is_read_only: bool,
}

/// What the process that shuts itself in is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct GuestSpec {
    pub(super) root: PathBuf,
    pub(super) binds: Vec<Bind>,
    /// Whether it is in a network namespace of its own.
    pub(super) is_offline: bool,
    /// Whether its standard input is a terminal made for it.
    pub(super) has_terminal: bool,
}

/// A root whose programs can be run. `/run` and `/tmp` are empty folders in memory, and last as long
/// as this.
pub(crate) struct Guest {
    root: PathBuf,
    binds: Vec<Bind>,
}

impl Guest {
    /// Programs of `root`, which is a folder. `binds` are folders from outside and where in the root they
    /// are to be seen.
    pub(crate) fn open(root: &Path, binds: &[(&Path, &str)], scratch: &Path) -> Result<Self> {
        let mut all = Vec::new();
        for (name, mode) in [("run", c"mode=755"), ("tmp", c"mode=1777")] {
            let folder = scratch.join(format!("memory-{name}"));
            mounts::mount_memory(&folder, mode)?;
            all.push(bind(&folder, &format!("/{name}"), false));
        }
        let lock = scratch.join("memory-run/lock");
        std::fs::create_dir(&lock)?;
        std::fs::set_permissions(&lock, std::os::unix::fs::PermissionsExt::from_mode(0o1777))?;
        all.extend(binds.iter().map(|&(from, to)| bind(from, to, false)));
        Ok(Self { root: root.to_owned(), binds: all })
    }

    /// A folder that programs see and cannot change.
    #[must_use]
    pub(crate) fn with_read_only(mut self, from: &Path, to: &str) -> Self {
        self.binds.push(bind(from, to, true));
        self
    }

    /// Works on the root's files, `/run` and `/tmp` included. No program may be running.
    pub(crate) fn inside<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let binds: Vec<(&Path, &str)> = self.binds.iter().map(|it| (&*it.from, &*it.to)).collect();
        let chroot = Chroot::enter(&self.root, &binds)?;
        let done = work();
        chroot.leave()?;
        done
    }

    /// A call of one of its programs. It waits for no disk, and has no terminal.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>, network: Network) -> Result<Command> {
        self.start(program.as_ref(), network, false)
    }

    /// The same on a terminal, which is to be its standard input.
    pub(super) fn command_on_terminal(&self, program: &str, network: Network) -> Result<Command> {
        self.start(program.as_ref(), network, true)
    }

    fn start(&self, program: &OsStr, network: Network, has_terminal: bool) -> Result<Command> {
        let spec = GuestSpec {
            root: self.root.clone(),
            binds: self.binds.clone(),
            is_offline: network == Network::Loopback,
            has_terminal,
        };
        let spec = serde_json::to_string(&spec)
            .map_err(|error| json_error(&error))
            .context(|| "cannot describe the sandbox's programs")?;
        let mut command = namespaces::unshare()?;
        if network == Network::Loopback {
            command.arg("--net");
        }
        command
            .arg("--")
            .arg(start::program()?)
            .args([start::COMMAND, start::GUEST, &spec])
            .arg(program);
        Ok(command)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        for bind in self.binds.iter().filter(|it| it.to == "/run" || it.to == "/tmp") {
            // They go with the worker's namespace at the latest.
            if let Some(path) = bind.from.to_str() {
                drop(mounts::unmount(path));
            }
        }
    }
}

fn bind(from: &Path, to: &str, is_read_only: bool) -> Bind {
    Bind { from: from.to_owned(), to: to.to_owned(), is_read_only }
}
