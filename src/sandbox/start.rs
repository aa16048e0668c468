//! How nodeforge starts itself in a sandbox.

use std::path::PathBuf;

use crate::util::error::{Context as _, Result};

/// The hidden command.
pub(super) const COMMAND: &str = "__sandbox";
/// What follows it for the sandbox's first process.
pub(super) const INIT: &str = "init";
/// What follows it for the process that does the job.
pub(super) const WORKER: &str = "worker";
/// What follows it for a process that becomes one of the image's programs.
pub(super) const GUEST: &str = "guest";
/// What follows it for the first process of a machine of its own.
pub(super) const MACHINE: &str = "machine";

/// This program's own file.
pub(super) fn program() -> Result<PathBuf> {
    std::env::current_exe().context(|| "cannot find nodeforge's own program")
}
