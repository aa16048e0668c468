//! The sandbox's first process: runs the worker, and leaves nothing behind.
//!
//! It is process 1 of its own pid namespace, so every process in there ends with it. Its standard
//! input is the lifeline: the other end is held by nodeforge, and closes when nodeforge ends in
//! whatever way, `kill -9` included. Mounts are the worker's alone: they are made in a mount
//! namespace of its own, which is gone when its last process is. Init never sees them, and so
//! the folders that it removes can hold nothing of the host's.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions};

use super::protocol::JobSpec;
use super::start::{COMMAND, WORKER};
use super::{ids, namespaces, start};
use crate::util::error::{Context, Error, Result};
use crate::util::file_lock::FileLock;
use crate::util::remove_tree::remove_tree;

/// How long it takes to clean up when nobody waits.
const LAST_WORK: Duration = Duration::from_millis(600);

/// Runs the job that standard input holds. The worker itself says how it went.
pub(super) fn main() -> Result<ExitCode> {
    ids::await_ids()?;
    // `end_all` below reaches every process but the first of its pid namespace.
    if std::process::id() != 1 {
        return Err(Error::failure("the sandbox is nodeforge's own and not a command"));
    }
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let spec = JobSpec::from_line(&line)?;

    // While it is held, another nodeforge does not take the folder for a dead run's.
    let folder = File::open(&spec.temporary)
        .context(|| format!("cannot open `{}`", spec.temporary.display()))?;
    let _lock = FileLock::shared(folder)?;

    let mut worker = namespaces::mounts_only()
        .arg(start::program()?)
        .args([COMMAND, WORKER])
        .stdin(Stdio::piped())
        .spawn()
        .context(|| "cannot start the sandbox's worker")?;
    let lifeline = watch_lifeline();
    if let Some(mut stdin) = worker.stdin.take() {
        // A worker that is gone already shows in its exit code.
        drop(stdin.write_all(line.as_bytes()));
    }
    let status = worker.wait()?;

    end_all();
    let end = lifeline.try_recv().ok();
    let mut folders = vec![spec.scratch];
    if end.is_some() {
        folders.push(spec.temporary);
    }
    let (sender, removed) = mpsc::channel();
    std::thread::spawn(move || sender.send(folders.iter().try_for_each(|it| remove(it))));
    if end == Some(End::Orphaned) {
        // What is left is swept by whoever uses the cache next; a process that is left is in the way.
        drop(removed.recv_timeout(LAST_WORK));
    } else if let Ok(removed) = removed.recv() {
        removed?;
    }
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

/// How an end from outside came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// nodeforge gives up, and waits.
    Asked,
    /// nodeforge is gone, or must be soon.
    Orphaned,
}

/// Ends the job as soon as the other end of standard input is closed.
fn watch_lifeline() -> mpsc::Receiver<End> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let length = io::stdin().lock().read(&mut [0]).unwrap_or(0);
        let end = if length > 0 { End::Asked } else { End::Orphaned };
        // Before the signal: whoever waits for the worker finds it.
        let _ = sender.send(end);
        signal_all();
    });
    receiver
}

fn signal_all() {
    // kill(-1): every process of this pid namespace but this one. None left is fine.
    let _ = rustix::process::kill_process_group(Pid::INIT, Signal::KILL);
}

/// Kills every process of the sandbox and waits until they are gone, and their mounts with them.
fn end_all() {
    signal_all();
    while rustix::process::wait(WaitOptions::empty()).is_ok() {}
}

fn remove(folder: &Path) -> Result<()> {
    match remove_tree(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context(|| format!("cannot remove `{}`", folder.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
