//! The hidden command that a nodeforge in a sandbox is started with.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use rustix::fs::Mode;

use super::job::JobEntry;
use super::protocol::{Failure, Message, Reporter};
use super::{confine, init, start, vm, worker};
use crate::util::error::Error;

/// What this process is to be in a sandbox; `None` for a nodeforge that a user started.
///
/// To be asked before anything else: a process in a sandbox has no command line of its own.
pub fn requested() -> Option<OsString> {
    let mut arguments = std::env::args_os().skip(1);
    (arguments.next()? == start::COMMAND).then(|| arguments.next().unwrap_or_default())
}

/// The sandbox's own `main`, for what [`requested`] said. `jobs` is all that a worker can do.
pub fn main(role: &OsStr, jobs: &[JobEntry]) -> ExitCode {
    // What programs make in an image must not follow the mask of whoever builds it.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let done = match role.to_str() {
        Some(start::INIT) => init::main(),
        Some(start::WORKER) => worker::main(jobs),
        // Its output is the program's: no message of ours may be in it.
        Some(start::GUEST) => return confine::main(std::env::args_os().skip(3)),
        // It is the only process of its machine, and has nobody to report to but the console.
        Some(start::MACHINE) => return vm::init(),
        Some(_) | None => Err(Error::failure("the sandbox is nodeforge's own and not a command")),
    };
    done.unwrap_or_else(|error| {
        Reporter::send(&Message::Failed(Failure::from(&error)));
        ExitCode::FAILURE
    })
}
