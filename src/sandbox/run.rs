//! Running a job in a sandbox, seen from outside.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use super::backend::Init;
use super::emulator::Emulator;
use super::job::{Job, Nothing, json_error};
use super::kind::Sandbox;
use super::namespaces::{self, is_root};
use super::protocol::{self, JobSpec};
use crate::config::Arch;
use crate::util::error::{Context as _, Result};
use crate::util::process::{self, Drain};
use crate::util::progress::Progress;
use crate::util::remove_tree::remove_tree;
use crate::util::terminal::SavedTerminal;
use crate::util::{clock, interrupt};

/// How long a sandbox may take to clean up before it is killed.
const PATIENCE: Duration = Duration::from_secs(60);
/// And where the machine itself wants to stop.
const HURRY: Duration = Duration::from_millis(500);

/// Variables that reach the sandbox; all others are the host's business.
const VARIABLES: [&str; 10] = [
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

/// What a job needs around it.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    /// What the programs that it runs are compiled for; `None` when it runs none but the host's.
    pub arch: Option<Arch>,
    /// Gone when the job is over, well or not: for trees whose files belong to other users.
    pub scratch: PathBuf,
    /// Gone as well when nodeforge itself is killed.
    pub temporary: PathBuf,
    /// Whether what runs inside may use the terminal.
    pub has_terminal: bool,
    /// What the time is, in seconds since 1970, for programs that ask `SOURCE_DATE_EPOCH`; this
    /// process's when nothing is said.
    pub epoch: Option<i64>,
}

/// Does a job in a sandbox and returns what it hands back. An interruption ends every process of the
/// job first.
pub(crate) fn run<J: Job>(
    sandbox: Sandbox,
    job: &J,
    environment: Environment,
    progress: &dyn Progress,
) -> Result<J::Output> {
    interrupt::check()?;
    let backend = sandbox.backend();
    let emulator = match environment.arch {
        Some(arch) => {
            backend.require_arch(arch)?;
            Emulator::find(arch)?
        }
        None => None,
    };
    let variables = variables(environment.epoch);
    let spec = JobSpec {
        name: J::NAME.to_owned(),
        payload: serde_json::to_value(job)
            .map_err(|error| json_error(&error))
            .context(|| format!("cannot write the job `{}`", J::NAME))?,
        scratch: environment.scratch,
        temporary: environment.temporary,
        emulator,
    };
    let line = spec.to_line()?;
    let has_terminal = environment.has_terminal;
    // The sandbox may be killed while its shell has the terminal.
    let terminal = has_terminal.then(SavedTerminal::look);
    let mut child = backend.start(Init { variables: &variables, has_terminal })?;
    let complaints = Drain::start(child.stderr.take());
    let mut lifeline = child.stdin.take();
    if let Some(pipe) = &mut lifeline {
        // When it does not even start, its exit code and its complaints say why.
        drop(writeln!(pipe, "{line}").and_then(|()| pipe.flush()));
    }
    let stdout = child.stdout.take();
    let outcome = protocol::relay(stdout, progress, || !matches!(child.try_wait(), Ok(None)));
    // Until it ends by itself, the pipe's end would be taken for ours.
    if outcome.is_err()
        && let Some(mut pipe) = lifeline.take()
        && !interrupt::is_hurried()
    {
        // There is time to clean up.
        drop(pipe.write_all(b"\n"));
    }
    end(&mut child)?;
    drop(terminal);
    if !has_terminal {
        namespaces::end_group(&child);
    }
    let complaints = complaints.text();
    match outcome? {
        Some(done) => serde_json::from_value(done?)
            .map_err(|error| json_error(&error))
            .context(|| "cannot read the sandbox's answer"),
        None => Err(backend.explain(&complaints)),
    }
}

/// Removes a folder, also when files in it belong to users that only a sandbox can become.
pub(crate) fn remove_folder(folder: &Path, progress: &dyn Progress) -> Result<()> {
    match remove_tree(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !is_root() => {
            let environment = Environment {
                arch: None,
                scratch: folder.to_owned(),
                temporary: folder.to_owned(),
                has_terminal: false,
                epoch: None,
            };
            run(Sandbox::Userns, &Nothing, environment, progress)
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context(|| format!("cannot remove `{}`", folder.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn variables(epoch: Option<i64>) -> Vec<(String, OsString)> {
    let mut all = vec![
        ("PATH".to_owned(), process::search_path().into()),
        ("HOME".to_owned(), "/root".into()),
        ("LC_ALL".to_owned(), "C.UTF-8".into()),
        // How a container says what it is (systemd's container interface): kernel hooks then
        // leave boot loaders alone.
        ("container".to_owned(), "nodeforge".into()),
    ];
    let own =
        VARIABLES.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var_os(name)?)));
    all.extend(own);
    all.extend(epoch.map(|epoch| (clock::EPOCH.to_owned(), epoch.to_string().into())));
    all
}

/// Waits for the sandbox's end; past all patience, kills it.
fn end(child: &mut Child) -> Result<()> {
    let begun = Instant::now();
    let patience = || if interrupt::is_hurried() { HURRY } else { PATIENCE };
    while child.try_wait()?.is_none() {
        if begun.elapsed() > patience() {
            // The kernel takes all processes of the sandbox along.
            child.kill()?;
            child.wait()?;
            break;
        }
        std::thread::sleep(interrupt::POLL);
    }
    Ok(())
}
