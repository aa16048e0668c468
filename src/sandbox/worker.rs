//! The worker: the process in the sandbox that does the job.

use std::io::{self, Read as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use super::job::{self, JobEntry};
use super::protocol::{JobSpec, Message, Reporter};
use crate::util::error::Result;

/// Whether this process is one.
static IS_WORKER: AtomicBool = AtomicBool::new(false);

/// Reads the job that standard input holds, does it, and says what came of it.
pub(super) fn main(jobs: &[JobEntry]) -> Result<ExitCode> {
    IS_WORKER.store(true, Ordering::SeqCst);
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text)?;
    let spec = JobSpec::from_line(&text)?;
    rustix::system::sethostname(b"localhost").map_err(io::Error::from)?;
    if let Some(emulator) = &spec.emulator {
        emulator.register(&spec.scratch.join("binfmt"))?;
    }
    let output = job::run_by_name(jobs, &spec.name, spec.payload, &spec.scratch, &Reporter)?;
    Reporter::send(&Message::Done(output));
    Ok(ExitCode::SUCCESS)
}

/// Kills every process of the sandbox but its first and the worker, which is this one. Does nothing
/// in any other process.
pub(crate) fn end_others() {
    use rustix::process::{Pid, Signal, getppid, kill_process_group};
    // Outside of a sandbox it would be all of the user's processes.
    if IS_WORKER.load(Ordering::SeqCst) && getppid() == Some(Pid::INIT) {
        // kill(-1), which spares both. None left is fine.
        let _ = kill_process_group(Pid::INIT, Signal::KILL);
    }
}
