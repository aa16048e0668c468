//! Watching a machine's console until it says something.

use std::io::{Read as _, Write};
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use regex::Regex;

use super::qemu::ReadyMachine;
use crate::util::error::{Context, Error, Result};
use crate::util::interrupt;
use crate::util::terminal::SavedTerminal;

/// What a machine's console is watched for.
pub struct Expectation {
    /// A line that matches ends it well.
    pub success: Regex,
    /// The last line that matches is remembered: what the machine itself has to say.
    pub complaint: Option<Regex>,
    /// How long to wait.
    pub timeout: Duration,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// The line that matched `success`, and how long after the start it did.
    Success(String, Duration),
    /// It did not come in time. With the last complaint.
    TimedOut(Option<String>),
    /// The machine went off first. With the last complaint.
    PoweredOff(Option<String>),
}

/// Where the console is copied to while it is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// To standard output.
    Stdout,
    /// To standard error.
    Stderr,
    /// Nowhere.
    Nowhere,
}

/// A line longer than this is judged as if it ended here.
const LONGEST_LINE: usize = 16 << 10;

impl ReadyMachine {
    /// Boots the machine and copies its console to stdout until it says what is expected; then
    /// the machine is gone.
    pub fn watch(self, expectation: &Expectation) -> Result<Ending> {
        let mut console = Console::start(self, Echo::Stdout)?;
        console.wait_for(expectation)
    }

    /// Boots the machine with its console on this terminal; Ctrl-A X ends it. `tell` gets, on a thread of
    /// its own, the command that goes in, once the machine lets this host in; else why it never did.
    pub fn interact(mut self, tell: impl Fn(DoorNews<'_>) + Sync) -> Result<()> {
        // Its end must not leave the terminal as it has it, however it comes.
        let terminal = SavedTerminal::look();
        let mut child = self.command.arg("-nographic").spawn().context(|| "starting QEMU")?;
        let stop = AtomicBool::new(false);
        let status = std::thread::scope(|scope| {
            if let Some(door) = &self.door {
                let (stop, tell) = (&stop, &tell);
                scope.spawn(move || {
                    let said = Mutex::default();
                    match door.wait(stop, &said) {
                        Ok(true) => tell(DoorNews::Open(&door.command_line())),
                        Ok(false) => {
                            if let Some(said) = &*said.lock().expect("no panic while it is set") {
                                tell(DoorNews::Closed(said));
                            }
                        }
                        Err(error) => tell(DoorNews::Closed(&error.to_string())),
                    }
                });
            }
            let status = interrupt::wait(&mut child);
            stop.store(true, Ordering::Relaxed);
            status
        });
        drop(terminal);
        let status = status?;
        if status.success() {
            return Ok(());
        }
        Err(Error::failure(format!("QEMU failed with {status}")))
    }
}

/// What there is to say of the way into a machine.
pub enum DoorNews<'a> {
    /// The command that goes in.
    Open(&'a str),
    /// It never opened: what `ssh` said last.
    Closed(&'a str),
}

/// A machine that runs, and what its console says.
pub(super) struct Console {
    child: Child,
    chunks: Receiver<Vec<u8>>,
    echo: Echo,
    started: Instant,
    /// What has come of the line that is not whole yet.
    line: Vec<u8>,
    /// The machine, for as long as it runs.
    pub(super) machine: ReadyMachine,
}

impl Console {
    /// Boots a machine.
    pub(super) fn start(mut machine: ReadyMachine, echo: Echo) -> Result<Self> {
        let mut child = machine
            .command
            .args(["-display", "none", "-monitor", "none", "-serial", "stdio"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context(|| "starting QEMU")?;
        let chunks = chunks_of(&mut child);
        Ok(Self { child, chunks, echo, started: Instant::now(), line: Vec::new(), machine })
    }

    /// When the time that the start gave is over.
    pub(super) fn deadline(&self, timeout: Duration) -> Instant {
        self.started + timeout
    }

    /// Watches it until it says what is expected.
    pub(super) fn wait_for(&mut self, expectation: &Expectation) -> Result<Ending> {
        let deadline = self.deadline(expectation.timeout);
        let mut complaint = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Ending::TimedOut(complaint));
            }
            let chunk = match self.next(left)? {
                Next::Said(chunk) => chunk,
                Next::Nothing => continue,
                Next::Off => return Ok(Ending::PoweredOff(complaint)),
            };
            for byte in chunk {
                if byte != b'\n' && self.line.len() < LONGEST_LINE {
                    self.line.push(byte);
                    continue;
                }
                if let Some(matched) = matched(&self.line, &expectation.success) {
                    return Ok(Ending::Success(matched, self.started.elapsed()));
                }
                let said = expectation.complaint.as_ref().and_then(|it| matched(&self.line, it));
                complaint = said.or(complaint);
                self.line.clear();
            }
            // A prompt is not a whole line, and waits for an answer.
            if let Some(matched) = matched(&self.line, &expectation.success) {
                return Ok(Ending::Success(matched, self.started.elapsed()));
            }
        }
    }

    /// What it says next, within `most` and a moment; copied to where the console goes.
    pub(super) fn next(&self, most: Duration) -> Result<Next> {
        interrupt::check()?;
        let chunk = match self.chunks.recv_timeout(most.min(interrupt::POLL)) {
            Ok(chunk) => chunk,
            Err(RecvTimeoutError::Timeout) => return Ok(Next::Nothing),
            Err(RecvTimeoutError::Disconnected) => return Ok(Next::Off),
        };
        match self.echo {
            Echo::Stdout => write(std::io::stdout(), &chunk)?,
            Echo::Stderr => write(std::io::stderr(), &chunk)?,
            Echo::Nowhere => {}
        }
        Ok(Next::Said(chunk))
    }

    /// Ends the machine. It may have gone off by itself.
    pub(super) fn end(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.end();
    }
}

/// What a console says next.
pub(super) enum Next {
    /// Some bytes.
    Said(Vec<u8>),
    /// Nothing so far.
    Nothing,
    /// The machine is off.
    Off,
}

fn write(mut to: impl Write, bytes: &[u8]) -> Result<()> {
    Ok(to.write_all(bytes).and_then(|()| to.flush())?)
}

/// The line, where it matches.
fn matched(line: &[u8], pattern: &Regex) -> Option<String> {
    let whole = String::from_utf8_lossy(line);
    let line = whole.trim_end();
    // A pattern may mean the end of what is said, or the space after a prompt.
    (pattern.is_match(line) || pattern.is_match(&whole)).then(|| line.to_owned())
}

/// What the console says, read on a thread of its own so that silence can be timed.
fn chunks_of(child: &mut Child) -> Receiver<Vec<u8>> {
    let mut stdout = child.stdout.take().expect("piped above");
    let (sender, receiver) = sync_channel(64);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stdout.read(&mut buffer) {
            if sender.send(buffer[..read].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}
