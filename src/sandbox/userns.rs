//! The sandbox `userns`: namespaces with users of their own, for an ordinary user, and for root where
//! programs of another processor run.

use std::process::{Child, Command, Stdio};

use super::backend::{Backend, Init};
use super::emulator::Emulator;
use super::{ids, namespaces};
use crate::config::Arch;
use crate::util::error::{Context as _, Error, Result};
use crate::util::process;

pub(super) struct UserNamespace;

impl Backend for UserNamespace {
    fn require(&self) -> Result<()> {
        // It ends when its standard input does.
        let mut child = namespaces::quiet(command()?.args(["--", "cat"]))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context(|| "cannot run `unshare`")?;
        let given = ids::give(&mut child);
        let (status, complaints) = namespaces::wait(child)?;
        given?;
        if status.success() { Ok(()) } else { Err(self.explain(&complaints)) }
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
