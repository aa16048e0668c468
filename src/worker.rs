//! The table of jobs that a worker in a sandbox can do.

use crate::bootstrap::BootstrapJob;
use crate::prepare::PrepareJob;
use crate::sandbox::JobEntry;

/// All jobs.
pub const JOBS: &[JobEntry] = &[JobEntry::of::<BootstrapJob>(), JobEntry::of::<PrepareJob>()];
