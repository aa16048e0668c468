//! What the machine's first process is told, and the names that both sides know.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::sandbox::protocol::JobSpec;

/// The image being made, in the machine.
pub(crate) const DISK: &str = "/dev/nodeforge-image";
/// Where the job's log goes: a port that ends in a file outside.
pub(crate) const LOG: &str = "/dev/nodeforge-log";
/// The cache's packages: the job finds those there that it asked for, and what it adds is handed back.
pub(crate) const ARCHIVES: &str = "/work/packages";
/// The scratch disk, which is gone with the machine.
pub(super) const WORK: &str = "/work";

/// Names of ports.
pub(super) const JOB_PORT: &str = "nodeforge.job";
pub(super) const STREAM_PORT: &str = "nodeforge.streams";
pub(super) const LOG_PORT: &str = "nodeforge.log";
/// Serial numbers of disks.
pub(super) const IMAGE_SERIAL: &str = "nodeforge-image";
pub(super) const WORK_SERIAL: &str = "nodeforge-work";

/// Where connections to mirrors begin, in the machine.
pub(super) const PROXY_PORT: u16 = 3128;
/// The same as an address, as programs name proxies.
pub(crate) const WAY_OUT: &str = "http://127.0.0.1:3128";

/// What a stream is opened for: the first frame's text.
pub(super) const PROXY: &str = "proxy";
pub(super) const GET: &str = "get ";
pub(super) const PUT: &str = "put ";
pub(super) const GIVE: &str = "give ";

/// A job with all that is around it, as one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct MachineJob {
    pub(super) job: JobSpec,
    /// The worker's environment.
    pub(super) variables: Vec<(String, String)>,
    /// Files that it needs: where, and how many bytes. Each is asked for by its place in this list.
    pub(super) inputs: Vec<(PathBuf, u64)>,
    /// An archive among these that holds the worker's root; without one it has the machine's own.
    pub(super) root: Option<PathBuf>,
    /// Files that are handed back, if they are there. Each is named by its place in this list.
    pub(super) outputs: Vec<PathBuf>,
    /// Whether mirrors can be reached.
    pub(super) has_network: bool,
    /// What the time is, in seconds since 1970.
    pub(super) now: i64,
}

/// Where a file of outside is put in the machine.
pub(crate) fn inside(number: usize) -> PathBuf {
    Path::new(WORK).join(format!("inputs/{number}"))
}

/// Where a file that is handed back is put in the machine.
pub(crate) fn outgoing(number: usize) -> PathBuf {
    Path::new(WORK).join(format!("outputs/{number}"))
}
