//! The sandbox `userns`: namespaces with users of their own, for an ordinary user, and for root where
//! programs of another processor run.

use std::process::Child;

use super::backend::{Backend, Init};
use super::emulator::Emulator;
use super::{ids, namespaces};
use crate::config::Arch;
use crate::util::error::{Context as _, Error, Result};
use crate::util::process;

pub(super) struct UserNamespace;

impl Backend for UserNamespace {
    fn require(&self) -> Result<()> {
        if namespaces::is_root() {
            return Ok(());
        }
        let output = command()?.arg("true").output().context(|| "cannot run `unshare`")?;
        if output.status.success() {
            return Ok(());
        }
        Err(namespaces::explain(&String::from_utf8_lossy(&output.stderr)))
    }

    fn require_arch(&self, arch: Arch) -> Result<()> {
        Emulator::find(arch).map(drop)
    }

    fn start(&self, init: Init<'_>) -> Result<Child> {
        let mut child = namespaces::spawn(command()?, init)?;
        if namespaces::is_root() {
            ids::give(&mut child)?;
        }
        Ok(child)
    }

    fn explain(&self, stderr: &str) -> Error {
        namespaces::explain(stderr)
    }
}

/// An ordinary user becomes root of the namespace, and their subordinate ids its users. The ids of root's
/// are still to be given.
fn command() -> Result<std::process::Command> {
    let mut command = namespaces::unshare()?;
    if namespaces::is_root() {
        command.arg("--user");
    } else {
        process::require("newuidmap", "uidmap")?;
        ids::require_subordinate()?;
        command.args(["--map-root-user", "--map-auto"]);
    }
    Ok(command)
}
