//! The kinds of sandbox: which way programs of an image are run.

#[cfg(target_os = "linux")]
use std::fs::File;
#[cfg(target_os = "linux")]
use std::path::Path;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

#[cfg(target_os = "linux")]
use super::{
    backend::Backend,
    emulator::Emulator,
    loop_root::LoopRoot,
    machine::MachineSandbox,
    namespaces::{self, is_root},
    none::NoSandbox,
    userns::UserNamespace,
};
use crate::config::Arch;
use crate::util::error::{Error, Result};
#[cfg(target_os = "linux")]
use crate::util::new_files::behind_sudo;
#[cfg(target_os = "linux")]
use crate::util::process::Tool;

/// How an image's root is made reachable for its programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Sandbox {
    /// As root: the image itself, mounted through a loop device in a private mount namespace
    Loop,
    /// As any user: unpacked in a user namespace, and packed again
    Userns,
    /// As any user: in a small Linux machine in QEMU, on the image as its disk
    Vm,
    /// Nothing is run: packages are left to the nodes' first boot
    None,
}

/// The sandbox for a build, and how it stands with it on this host.
#[derive(Debug)]
pub struct Choice {
    /// Which it is.
    pub sandbox: Sandbox,
    /// Why it is not `userns`, where only a machine is to be had.
    pub instead_of_userns: Option<Error>,
    /// Why it cannot be had either.
    pub refusal: Option<Error>,
}

impl Choice {
    /// That one and no other, for programs of `arch`.
    pub fn of(sandbox: Sandbox, arch: Arch) -> Self {
        Self { refusal: sandbox.require(arch).err(), ..Self::sure(sandbox) }
    }

    /// One that is known to be had.
    fn sure(sandbox: Sandbox) -> Self {
        Self { sandbox, instead_of_userns: None, refusal: None }
    }
}

impl Sandbox {
    /// The best of those that this host allows, for images of `arch`. The host's kernel mounts, as
    /// root, only what somebody vouches for.
    #[cfg(target_os = "linux")]
    pub fn choose(arch: Arch, is_vouched_for: bool) -> Choice {
        // In a container, devices that the kernel makes have no nodes.
        let is_there = |name: String| Path::new(name.trim()).exists();
        let has_loop = || {
            File::options().write(true).open("/dev/loop-control").is_ok()
                && Tool::new("losetup", "mount").arg("--find").run().is_ok_and(is_there)
        };
        if is_vouched_for && Self::is_loop_for_folder(arch) && has_loop() {
            return Choice::sure(Self::Loop);
        }
        Self::userns_or_vm(arch)
    }

    /// The best of those that this host allows for a root that is a folder, and programs of `arch` in it.
    #[cfg(target_os = "linux")]
    pub(crate) fn choose_for_folder(arch: Arch) -> Self {
        if Self::is_loop_for_folder(arch) { Self::Loop } else { Self::userns_or_vm(arch).sandbox }
    }

    #[cfg(target_os = "linux")]
    fn userns_or_vm(arch: Arch) -> Choice {
        let Err(error) = Self::Userns.check(arch) else { return Choice::sure(Self::Userns) };
        match Self::Vm.check(arch) {
            Ok(()) => Choice { instead_of_userns: Some(error), ..Choice::sure(Self::Vm) },
            machine => {
                let refusal = Some(with_other_ways(error, machine));
                Choice { refusal, ..Choice::sure(Self::Userns) }
            }
        }
    }

    /// The best of those that this host allows: programs of an image need Linux, which a machine has.
    #[cfg(not(target_os = "linux"))]
    pub fn choose(arch: Arch, _is_vouched_for: bool) -> Choice {
        Choice::sure(if Self::Vm.require(arch).is_ok() { Self::Vm } else { Self::None })
    }

    /// The same for a root that is a folder, which nothing but a machine can make.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn choose_for_folder(_arch: Arch) -> Self {
        Self::Vm
    }

    /// One that does with packages what the chosen one will do; on Linux without a look at this host.
    pub fn presumed(arch: Arch) -> Self {
        if cfg!(target_os = "linux") { Self::Userns } else { Self::choose(arch, false).sandbox }
    }

    /// Whether programs of `arch` in a root that is a folder can do with the plainest one.
    #[cfg(target_os = "linux")]
    fn is_loop_for_folder(arch: Arch) -> bool {
        // A table of emulators that is not the host's needs a user namespace.
        let is_plain = || matches!(Emulator::find(arch), Ok(None));
        // Of the cache of an ordinary user, who is behind sudo, nothing is mounted as root where there is another
        // way; and what that user prepared is what is looked for.
        let is_own = || behind_sudo().is_none() || namespaces::has_no_users();
        is_root() && is_plain() && is_own() && Self::Loop.check(arch).is_ok()
    }

    /// Fails where the host does not let programs of an image, which are for `arch`, be run like this; says
    /// nothing of other ways.
    #[cfg(target_os = "linux")]
    fn check(self, arch: Arch) -> Result<()> {
        let backend = self.backend();
        backend.require()?;
        backend.require_arch(arch)
    }

    /// Fails where the host does not let programs of an image, which are for `arch`, be run like this.
    #[cfg(target_os = "linux")]
    pub fn require(self, arch: Arch) -> Result<()> {
        self.check(arch).map_err(|error| match self {
            Self::Userns => with_other_ways(error, Self::Vm.check(arch)),
            Self::Loop | Self::Vm | Self::None => error,
        })
    }

    /// Fails where the host does not let programs of an image, which are for `arch`, be run like this.
    #[cfg(not(target_os = "linux"))]
    pub fn require(self, arch: Arch) -> Result<()> {
        match self {
            Self::Loop | Self::Userns => {
                Err(Error::input("the sandboxes `loop` and `userns` are for Linux")
                    .hint("`--sandbox vm` runs programs of an image in a machine in QEMU"))
            }
            Self::Vm => super::vm::require(arch),
            Self::None => Ok(()),
        }
    }

    /// What runs it.
    #[cfg(target_os = "linux")]
    pub(super) fn backend(self) -> &'static dyn Backend {
        match self {
            Self::Loop => &LoopRoot,
            Self::Userns => &UserNamespace,
            Self::Vm => &MachineSandbox,
            Self::None => &NoSandbox,
        }
    }

    /// What it does with packages, for people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Loop => "packages installed in the sandbox `loop`, as root",
            Self::Userns => "packages installed in the sandbox `userns`, as an ordinary user",
            Self::Vm => "packages installed in the sandbox `vm`, a machine in QEMU",
            Self::None => "packages left to the first boot of each node (sandbox `none`)",
        }
    }
}

/// Why `userns` cannot be had, with what else there is; `machine` is whether `vm` can.
#[cfg(target_os = "linux")]
fn with_other_ways(error: Error, machine: Result<()>) -> Error {
    let error = error.hint("`--sandbox none` leaves packages to each node's first boot");
    match machine {
        Ok(()) => error.hint("`--sandbox vm` needs nothing of this host but QEMU"),
        Err(lacking) => error.hint(format!("or let a machine do it: {}", lacking.advice())),
    }
}
