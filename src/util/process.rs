//! Programs of the host that nodeforge calls.

use std::ffi::OsStr;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use super::error::{Context, Error, Result};
use crate::util::interrupt;

/// Keeps this process and those it starts from leaving their memory in a file: there are secrets in it.
///
/// Handlers such as systemd-coredump go by the limit too. The process stays dumpable: otherwise its
/// files in `/proc` would be root's, among them the maps of ids that a user namespace needs.
pub fn forbid_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    // To lower a limit is always allowed.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

/// Where Debian keeps file-system tools, which an ordinary user's `PATH` lacks.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// How long a stream is read on after its program has ended.
const GRACE: Duration = Duration::from_secs(2);

/// One call of a program. Its output is kept for errors, never shown.
pub struct Tool {
    command: Command,
    name: String,
    package: &'static str,
    input: Option<Vec<u8>>,
}

impl Tool {
    /// A call of `name`, which comes in Debian's package `package`.
    pub fn new(name: &str, package: &'static str) -> Self {
        let mut command = Command::new(name);
        command.env("PATH", search_path()).env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
        Self { command, name: name.to_owned(), package, input: None }
    }

    /// What it reads from its standard input: a line or two, which fit into a pipe.
    #[must_use]
    pub fn input(mut self, text: &[u8]) -> Self {
        self.input = Some(text.to_owned());
        self.command.stdin(Stdio::piped());
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end and returns its standard output.
    ///
    /// A failure says what it last wrote to standard error; a missing program, how to get it.
    pub fn run(self) -> Result<String> {
        let (output, code) = self.run_for_code()?;
        match code {
            Some(0) => Ok(output.stdout),
            _ => Err(output.failure()),
        }
    }

    /// As [`Tool::run`], for programs whose exit codes are answers; `None` when a signal ended it.
    pub fn run_for_code(mut self) -> Result<(ProgramOutput, Option<i32>)> {
        let mut child = self
            .command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| cannot_start(&self.name, self.package, &error))?;
        if let (Some(text), Some(mut input)) = (&self.input, child.stdin.take()) {
            // One that does not read it says itself what it lacks.
            drop(input.write_all(text));
        }
        let read = (Drain::start(child.stdout.take()), Drain::start(child.stderr.take()));
        let status = interrupt::wait(&mut child)?;
        let (stdout, stderr) = (read.0.text(), read.1.text());
        let output = ProgramOutput { name: self.name, stdout, stderr };
        Ok((output, status.code()))
    }

    /// Starts it; what it writes goes where the caller's `configure` says.
    pub fn spawn(mut self, configure: impl FnOnce(&mut Command)) -> Result<Child> {
        configure(&mut self.command);
        self.command.spawn().map_err(|error| cannot_start(&self.name, self.package, &error))
    }
}

/// What a program wrote.
pub struct ProgramOutput {
    name: String,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl ProgramOutput {
    /// The error that says this program failed, with what it last wrote.
    pub fn failure(&self) -> Error {
        let last =
            |text: &str| text.lines().rfind(|line| !line.trim().is_empty()).map(str::to_owned);
        match last(&self.stderr).or_else(|| last(&self.stdout)) {
            Some(line) => Error::failure(line).context(format!("`{}` failed", self.name)),
            None => Error::failure(format!("`{}` failed", self.name)),
        }
    }
}

/// The user's `PATH` followed by the folders of system tools.
pub fn search_path() -> String {
    let mut path = std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".into());
    for folder in SYSTEM_FOLDERS {
        if !path.split(':').any(|it| it == folder) {
            path.push(':');
            path.push_str(folder);
        }
    }
    path
}

/// Whether a program is found in [`search_path`].
pub fn exists(name: &str) -> bool {
    find(name).is_some()
}

/// Where [`search_path`] has a program.
pub fn find(name: &str) -> Option<PathBuf> {
    search_path().split(':').map(|folder| Path::new(folder).join(name)).find(|it| it.is_file())
}

/// Where a program is; fails with a hint unless it is there.
pub fn require(name: &str, package: &str) -> Result<PathBuf> {
    find(name).ok_or_else(|| missing(name, package))
}

fn missing(name: &str, package: &str) -> Error {
    Error::failure(format!("the program `{name}` is not installed"))
        .hint(format!("it comes in the package {package}: apt install {package}"))
}

fn cannot_start(name: &str, package: &str, error: &io::Error) -> Error {
    if error.kind() == io::ErrorKind::NotFound {
        return missing(name, package);
    }
    let result: Result<()> = Err(io::Error::new(error.kind(), error.to_string()))
        .context(|| format!("starting `{name}`"));
    result.expect_err("made as an error above")
}

/// A stream of a program, read beside the main thread, so that a full pipe never stops the program.
pub struct Drain {
    bytes: Arc<Mutex<Vec<u8>>>,
    end: mpsc::Receiver<()>,
}

impl Drain {
    /// Begins to read.
    pub fn start<R: Read + Send + 'static>(mut stream: Option<R>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (ended, end) = mpsc::channel();
        let all = Arc::clone(&bytes);
        std::thread::spawn(move || {
            let mut buffer = [0; 1 << 13];
            // What could be read of a torn stream is still worth showing.
            while let Some(length) = stream.as_mut().and_then(|it| it.read(&mut buffer).ok())
                && length > 0
                && let Ok(mut all) = all.lock()
            {
                all.extend(&buffer[..length]);
            }
            drop(ended);
        });
        Self { bytes, end }
    }

    /// All of it, once the program has ended. Something that it left running may keep the stream open for
    /// ever: what that says is not waited for.
    pub fn text(self) -> String {
        // Both an end and its absence are answers.
        let _ = self.end.recv_timeout(GRACE);
        let bytes = self.bytes.lock().map(|it| it.clone()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_returned() {
        assert_eq!(Tool::new("echo", "coreutils").arg("hello").run().unwrap(), "hello\n");
    }

    #[test]
    fn what_a_program_leaves_running_is_not_waited_for() {
        let begun = std::time::Instant::now();
        let said = Tool::new("sh", "dash").args(["-c", "echo here; sleep 60 &"]).run().unwrap();
        assert_eq!(said, "here\n");
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_failure_says_what_the_program_said_last() {
        let error =
            Tool::new("sh", "dash").args(["-c", "echo no disk >&2; exit 3"]).run().unwrap_err();
        assert_eq!(error.to_string(), "`sh` failed: no disk");
    }

    #[test]
    fn a_missing_program_comes_with_its_package() {
        let error = Tool::new("nodeforge-none", "nothing").run().unwrap_err();
        assert_eq!(error.to_string(), "the program `nodeforge-none` is not installed");
        assert_eq!(error.problems()[0].hints.len(), 1);
    }
}
