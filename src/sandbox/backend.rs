//! What a kind of sandbox must be able to do.

use std::process::Child;

use crate::config::Arch;
use crate::util::error::{Error, Result};

/// One way to keep an image's programs apart from the host.
///
/// A new one is a file with an implementation, a variant of [`Sandbox`](super::Sandbox), and a way in
/// `prepare` to make the image's root reachable.
pub(super) trait Backend {
    /// Fails where this host cannot run it.
    fn require(&self) -> Result<()>;

    /// Fails where it cannot run programs of `arch`.
    fn require_arch(&self, arch: Arch) -> Result<()>;

    /// Starts `init` in it, with the protocol on its standard input and output, and complaints on its
    /// standard error.
    fn start(&self, init: Init<'_>) -> Result<Child>;

    /// Why it ended without a last message, from what it wrote on standard error.
    fn explain(&self, stderr: &str) -> Error;
}

/// How a sandbox's first process is to be started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Init<'a> {
    /// All its environment variables.
    pub variables: &'a [(String, std::ffi::OsString)],
    /// Whether what runs inside may use the terminal.
    pub has_terminal: bool,
}
