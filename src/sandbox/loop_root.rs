//! The sandbox `loop`: plain namespaces for root, who may mount the image itself.

use std::process::Child;

use super::backend::{Backend, Init};
use super::emulator::Emulator;
use super::namespaces;
use crate::config::Arch;
use crate::util::error::{Error, Result};

pub(super) struct LoopRoot;

impl Backend for LoopRoot {
    fn require(&self) -> Result<()> {
        if namespaces::is_root() {
            let probed = namespaces::probe(namespaces::unshare()?, |_| Ok(()))?;
            return probed.map_err(|complaints| self.explain(&complaints));
        }
        Err(Error::input("the sandbox `loop` is for root").hint("`--sandbox userns` needs no root"))
    }

    fn require_arch(&self, arch: Arch) -> Result<()> {
        // A table of emulators that is not the host's needs a user namespace.
        match Emulator::find(arch)? {
            None => Ok(()),
            Some(_) => Err(Error::input(format!(
                "the sandbox `loop` cannot run programs for {} without changing the host",
                arch.name()
            ))
            .hint("`--sandbox userns` can")),
        }
    }

    fn start(&self, init: Init<'_>) -> Result<Child> {
        namespaces::spawn(namespaces::unshare()?, init)
    }

    fn explain(&self, stderr: &str) -> Error {
        namespaces::explain(stderr)
    }
}
