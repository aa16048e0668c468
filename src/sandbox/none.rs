//! The sandbox `none`: nothing of an image is run.

use std::process::Child;

use super::backend::{Backend, Init};
use crate::config::Arch;
use crate::util::error::{Error, Result};

pub(super) struct NoSandbox;

impl Backend for NoSandbox {
    fn require(&self) -> Result<()> {
        Ok(())
    }

    fn require_arch(&self, _arch: Arch) -> Result<()> {
        Ok(())
    }

    fn start(&self, _init: Init<'_>) -> Result<Child> {
        Err(Error::failure("cannot run a program in the sandbox `none`"))
    }

    fn explain(&self, stderr: &str) -> Error {
        Error::failure(stderr.trim())
    }
}
