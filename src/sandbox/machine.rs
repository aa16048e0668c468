//! The sandbox `vm` as one of the kinds: whether it is to be had. What runs in it is started with what the
//! machine is made of, by [`vm::run`](super::vm::run).

use std::process::Child;

use super::backend::{Backend, Init};
use super::vm;
use crate::config::Arch;
use crate::util::error::{Error, Result};

pub(super) struct MachineSandbox;

impl Backend for MachineSandbox {
    fn require(&self) -> Result<()> {
        Ok(())
    }

    fn require_arch(&self, arch: Arch) -> Result<()> {
        vm::require(arch)
    }

    fn start(&self, _init: Init<'_>) -> Result<Child> {
        Err(Error::failure("the sandbox `vm` starts with a machine"))
    }

    fn explain(&self, stderr: &str) -> Error {
        Error::failure(stderr.trim())
    }
}
