//! Watching a machine's console until it says something.

use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};
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
    /// The line that matched `success`.
    Success(String),
    /// It did not come in time. With the last complaint.
    TimedOut(Option<String>),
    /// The machine went off first. With the last complaint.
    PoweredOff(Option<String>),
}

/// A line longer than this is judged as if it ended here.
const LONGEST_LINE: usize = 16 << 10;

impl ReadyMachine {
    /// Boots the machine and copies its console to stdout until it says what is expected; then
    /// the machine is gone.
    pub fn watch(mut self, expectation: &Expectation) -> Result<Ending> {
        let mut child = self
            .command
            .args(["-display", "none", "-monitor", "none", "-serial", "stdio"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context(|| "starting QEMU")?;
        let ending = read_console(&mut child, expectation);
        // It may have gone off by itself.
        drop(child.kill());
        child.wait().context(|| "waiting for QEMU to end")?;
        ending
    }

    /// Boots the machine with its console on this terminal; Ctrl-A X ends it.
    pub fn interact(mut self) -> Result<()> {
        // Its end must not leave the terminal as it has it, however it comes.
        let terminal = SavedTerminal::look();
        let mut child = self.command.arg("-nographic").spawn().context(|| "starting QEMU")?;
        let status = interrupt::wait(&mut child);
        drop(terminal);
        let status = status?;
        if status.success() {
            return Ok(());
        }
        Err(Error::failure(format!("QEMU failed with {status}")))
    }
}

fn read_console(child: &mut Child, expectation: &Expectation) -> Result<Ending> {
    let deadline = Instant::now() + expectation.timeout;
    let chunks = chunks_of(child);
    let mut line = Vec::new();
    let mut complaint = None;
    loop {
        interrupt::check()?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Ending::TimedOut(complaint));
        }
        let chunk = match chunks.recv_timeout(left.min(interrupt::POLL)) {
            Ok(chunk) => chunk,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Ok(Ending::PoweredOff(complaint)),
        };
        let mut out = std::io::stdout();
        out.write_all(&chunk).and_then(|()| out.flush())?;
        for &byte in &chunk {
            if byte != b'\n' && line.len() < LONGEST_LINE {
                line.push(byte);
                continue;
            }
            if let Some(matched) = matched(&line, &expectation.success) {
                return Ok(Ending::Success(matched));
            }
            let said = expectation.complaint.as_ref().and_then(|it| matched(&line, it));
            complaint = said.or(complaint);
            line.clear();
        }
        // A prompt is not a whole line, and waits for an answer.
        if let Some(matched) = matched(&line, &expectation.success) {
            return Ok(Ending::Success(matched));
        }
    }
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
