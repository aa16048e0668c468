//! Where programs of an image run: namespaces that end with nodeforge and take everything along.
//!
//! nodeforge starts itself again, three processes deep: `unshare` → *keeper*, process 1 of a pid
//! namespace → *worker*, in a mount namespace of its own, which does the [`Job`].
//! As root these are plain namespaces; an ordinary user is made root of a user namespace.

mod chroot;
mod emulator;
mod ids;
mod init;
mod kind;
mod mounts;
mod namespaces;
mod protocol;
#[cfg(target_os = "linux")]
pub(crate) mod shell;
#[cfg(target_os = "linux")]
pub(crate) mod suppress_sync;

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::prepare::Job;
use crate::util::error::{Context, Error, Result};
use crate::util::progress::Progress;
use crate::util::{clock, interrupt, process};
use protocol::{Failure, Message, Reporter};

pub(crate) use chroot::Chroot;
pub(crate) use emulator::{Emulator, is_native};
pub use kind::Sandbox;
pub(crate) use namespaces::is_root;
pub(crate) use protocol::Order;
#[cfg(target_os = "linux")]
pub(crate) use suppress_sync::believe;

/// The hidden command that a nodeforge in the sandbox is started with.
const COMMAND: &str = "__sandbox";
const KEEPER: &str = "keeper";
const WORKER: &str = "worker";

/// Whether this process is one.
static IS_WORKER: AtomicBool = AtomicBool::new(false);

/// How long a keeper may take to clean up before it is killed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Variables that reach the sandbox; all others are the host's business.
const ENVIRONMENT: [&str; 10] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    clock::EPOCH,
    "TERM",
];

/// What this process is to be in a sandbox; `None` for a nodeforge that a user started.
///
/// To be asked before anything else: a process in a sandbox has no command line of its own.
pub fn requested() -> Option<OsString> {
    let mut arguments = std::env::args_os().skip(1);
    (arguments.next()? == COMMAND).then(|| arguments.next().unwrap_or_default())
}

/// The sandbox's own `main`, for what [`requested`] said.
pub fn main(role: &OsStr) -> ExitCode {
    let done = match role.to_str() {
        Some(KEEPER) => init::main(),
        Some(WORKER) => Ok(worker()),
        _ => Err(Error::failure("the sandbox is nodeforge's own and not a command")),
    };
    done.unwrap_or_else(|error| {
        Reporter::send(&Message::Failed(Failure::from(&error)));
        ExitCode::FAILURE
    })
}

/// Does a job in a sandbox and returns what it hands back.
///
/// `order.scratch` is gone afterwards. An interruption ends every process of the job first.
pub(crate) fn run<T: DeserializeOwned>(order: &Order, progress: &dyn Progress) -> Result<T> {
    interrupt::check()?;
    let line = serde_json::to_string(order).map_err(|error| {
        Error::failure(error.to_string()).context("writing the sandbox's order")
    })?;
    let mut command = namespaces::command(order.own_users)?;
    command
        .arg(program()?)
        .args([COMMAND, KEEPER])
        .env_clear()
        .env("PATH", process::search_path())
        .env("HOME", "/root")
        .env("LC_ALL", "C.UTF-8")
        // How a container says what it is (systemd's container interface): kernel hooks then
        // leave boot loaders alone.
        .env("container", "nodeforge")
        .envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .envs(order.epoch.map(|epoch| (clock::EPOCH, epoch.to_string())))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if !order.has_terminal {
        // The terminal's Ctrl-C is for us; the sandbox learns of it through the lifeline.
        command.process_group(0);
    }
    let mut child = command.spawn().context(|| "starting `unshare`")?;
    if order.own_users && is_root() {
        ids::give(&mut child)?;
    }
    let complaints = listen(child.stderr.take());
    let mut lifeline = child.stdin.take();
    if let Some(pipe) = &mut lifeline {
        // When it does not even start, its exit code and its complaints say why.
        drop(writeln!(pipe, "{line}").and_then(|()| pipe.flush()));
    }
    let outcome = relay(child.stdout.take(), progress);
    if outcome.is_err() {
        drop(lifeline.take());
    }
    end(&mut child)?;
    let complaints = complaints.join().unwrap_or_default();
    match outcome? {
        Some(Message::Done(value)) => serde_json::from_value(value).map_err(|error| {
            Error::failure(error.to_string()).context("reading the sandbox's answer")
        }),
        Some(Message::Failed(failure)) => Err(failure.into()),
        _ => Err(namespaces::explain(&complaints)),
    }
}

/// Removes a folder, also when files in it belong to users that only a sandbox can become.
pub(crate) fn remove_folder(folder: &Path, progress: &dyn Progress) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !is_root() => {
            let order = Order {
                job: Job::Nothing,
                scratch: folder.to_owned(),
                temporary: folder.to_owned(),
                own_users: true,
                emulator: None,
                has_terminal: false,
                epoch: None,
            };
            run::<()>(&order, progress)
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context(|| format!("removing `{}`", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Kills every process of the sandbox but its first and the worker, which is this one. Does nothing
/// in any other process.
pub(crate) fn end_others() {
    use rustix::process::{Pid, Signal, getppid, kill_process_group};
    // Outside of a sandbox it would be everybody else.
    if IS_WORKER.load(Ordering::SeqCst) && getppid() == Some(Pid::INIT) {
        // kill(-1), which spares both. None left is fine.
        let _ = kill_process_group(Pid::INIT, Signal::KILL);
    }
}

/// This program's own file.
fn program() -> Result<PathBuf> {
    std::env::current_exe().context(|| "looking for nodeforge's own program")
}

/// Passes news on until the last message. `None` when there was none.
fn relay(stdout: Option<ChildStdout>, progress: &dyn Progress) -> Result<Option<Message>> {
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = stdout {
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(io::Result::ok) {
                // A program may have written between the messages: that is for the log at most.
                if let Ok(message) = serde_json::from_str::<Message>(&line)
                    && sender.send(message).is_err()
                {
                    break;
                }
            }
        });
    }
    loop {
        interrupt::check()?;
        match receiver.recv_timeout(interrupt::POLL) {
            Ok(Message::Stage(name)) => progress.stage(&name),
            Ok(Message::Doing(text)) => progress.message(&text),
            Ok(Message::Position(done, total)) => progress.position(done, total),
            Ok(Message::Warning(text)) => progress.warn(&text),
            Ok(Message::Finished) => progress.finish(),
            Ok(last) => return Ok(Some(last)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
}

/// Waits for the sandbox's end; past all patience, kills it.
fn end(child: &mut Child) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            // `--kill-child` takes the keeper along, and the kernel all the others.
            child.kill()?;
            child.wait()?;
            break;
        }
        std::thread::sleep(interrupt::POLL);
    }
    Ok(())
}

/// Collects what a stream says beside the main thread.
fn listen<R: Read + Send + 'static>(stream: Option<R>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            drop(stream.read_to_end(&mut bytes));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The worker: reads its order, does the job, says how it went.
fn worker() -> ExitCode {
    IS_WORKER.store(true, Ordering::SeqCst);
    let done = read_order().and_then(|order| {
        rustix::system::sethostname(b"localhost").map_err(io::Error::from)?;
        if let Some(emulator) = &order.emulator {
            emulator.register(&order.scratch.join("binfmt"))?;
        }
        order.job.run(&order.scratch, &Reporter)
    });
    match done {
        Ok(value) => {
            Reporter::send(&Message::Done(value));
            ExitCode::SUCCESS
        }
        Err(error) => {
            Reporter::send(&Message::Failed(Failure::from(&error)));
            ExitCode::FAILURE
        }
    }
}

fn read_order() -> Result<Order> {
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text)?;
    serde_json::from_str(&text)
        .map_err(|error| Error::failure(error.to_string()).context("reading the sandbox's order"))
}
