//! The sandbox `userns`: namespaces with users of their own, for an ordinary user, and for root where
//! programs of another processor run.

use std::process::{Child, Command};

use super::backend::{Backend, Init};
use super::emulator::Emulator;
use super::{ids, namespaces};
use crate::config::Arch;
use crate::util::error::{Error, Result};
use crate::util::process;

pub(super) struct UserNamespace;

impl Backend for UserNamespace {
    fn require(&self) -> Result<()> {
        let probed = namespaces::probe(command()?, ids::give)?;
        probed.map_err(|complaints| self.explain(&complaints))
    }

    fn require_arch(&self, arch: Arch) -> Result<()> {
        Emulator::find(arch).map(drop)
    }

    fn start(&self, init: Init<'_>) -> Result<Child> {
        let mut child = namespaces::spawn(command()?, init)?;
        ids::give(&mut child)?;
        Ok(child)
    }

    fn explain(&self, stderr: &str) -> Error {
        let error = namespaces::explain(stderr);
        if namespaces::is_root() {
            return error.hint(
                "a chroot refuses user namespaces: `--sandbox loop` needs none, and has the kernel mount the image",
            );
        }
        error
    }
}

/// `unshare` for a namespace whose users are still to be given.
fn command() -> Result<Command> {
    let mut command = namespaces::unshare()?;
    command.arg("--user");
    if !namespaces::is_root() {
        process::require("newuidmap", "uidmap")?;
        ids::require_subordinate()?;
    }
    Ok(command)
}
