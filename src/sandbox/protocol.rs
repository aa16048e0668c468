//! What goes between nodeforge and the copy of itself in the sandbox, whatever kind of sandbox it is.
//!
//! Down, on standard input: one line of JSON, the [`JobSpec`]; then nothing, but the pipe stays open
//! for as long as its sender lives; one more byte before its end says that there is time to clean up. Up,
//! on standard output: one [`Message`] a line.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::emulator::Emulator;
use super::job::json_error;
use crate::util::error::{Context as _, Error, ErrorKind, Problem, Result};
use crate::util::interrupt;
use crate::util::progress::Progress;

/// The most bytes that a message may have: a list of all packages of a large image has one.
const LONGEST: u64 = 16 << 20;

/// A job, and what it needs around it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct JobSpec {
    /// Its name in the worker's table of jobs.
    pub name: String,
    /// The job itself.
    pub payload: Value,
    /// Removed when the job is over, well or not: trees whose files belong to other users.
    pub scratch: PathBuf,
    /// Removed as well when nodeforge itself is gone and cannot do it.
    pub temporary: PathBuf,
    /// What runs the image's programs, when the kernel does not.
    pub emulator: Option<Emulator>,
}

impl JobSpec {
    /// The line that goes down.
    pub(super) fn to_line(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|error| json_error(&error))
            .context(|| "cannot write the sandbox's job")
    }

    /// Reads the line back.
    pub(super) fn from_line(line: &str) -> Result<Self> {
        serde_json::from_str(line)
            .map_err(|error| json_error(&error))
            .context(|| "cannot read the sandbox's job")
    }
}

/// News from the sandbox.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// A stage begins.
    Stage(String),
    /// What the stage is at.
    Doing(String),
    /// How far the stage is, and of how much.
    Position(u64, u64),
    /// Something that people should know.
    Warning(String),
    /// The last stage is over.
    Finished,
    /// The job is done; what it hands back.
    Done(Value),
    /// The job failed.
    Failed(Failure),
}

/// An [`Error`] on its way out of the sandbox. It never has places in text files.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Failure {
    input: bool,
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let input = error.kind() == ErrorKind::Input;
        let first = error.problems().first().cloned().unwrap_or_else(|| Problem::new("it failed"));
        Self { input, message: first.message, causes: first.causes, hints: first.hints }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let Failure { input, message, causes, hints } = failure;
        let problem = Problem { causes, hints, ..Problem::new(message) };
        if input { Error::input(problem) } else { Error::failure(problem) }
    }
}

/// Passes news on until the last message, which is [`Message::Done`] or [`Message::Failed`]. `None` when
/// there was none: the stream ended, or `is_over` says that whoever had it is gone.
///
/// Fails on anything that is no message. The stream is the worker's alone, which is nodeforge itself.
pub(super) fn relay<R: Read + Send + 'static>(
    stdout: Option<R>,
    progress: &dyn Progress,
    mut is_over: impl FnMut() -> bool,
) -> Result<Option<Result<Value>>> {
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = stdout {
        std::thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            while let Some(message) = read(&mut stdout).transpose()
                && sender.send(message).is_ok()
            {}
        });
    }
    loop {
        interrupt::check()?;
        // What it said before it was gone is here by then.
        let was_over = is_over();
        match receiver.recv_timeout(interrupt::POLL) {
            Ok(message) => match message? {
                Message::Stage(name) => progress.stage(&name),
                Message::Doing(text) => progress.message(&text),
                Message::Position(done, total) => progress.position(done, total),
                Message::Warning(text) => progress.warn(&text),
                Message::Finished => progress.finish(),
                Message::Done(value) => return Ok(Some(Ok(value))),
                Message::Failed(failure) => return Ok(Some(Err(failure.into()))),
            },
            Err(RecvTimeoutError::Timeout) if was_over => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
}

/// The next message; `None` at the end.
fn read(from: &mut impl BufRead) -> Result<Option<Message>> {
    let mut line = Vec::new();
    from.take(LONGEST).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&line)
        .map(Some)
        .map_err(|error| json_error(&error))
        .context(|| "cannot understand the sandbox")
}

/// Whether another message can be read.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_message(from: &mut impl BufRead) -> Result<Option<()>> {
    Ok(read(from)?.map(drop))
}

/// Inside the sandbox: progress as messages on standard output.
pub(super) struct Reporter;

impl Reporter {
    /// Sends one message. A reader that is gone is not the job's concern: the lifeline is.
    pub(super) fn send(message: &Message) {
        if let Ok(line) = serde_json::to_string(message) {
            let mut stdout = io::stdout().lock();
            drop(writeln!(stdout, "{line}").and_then(|()| stdout.flush()));
        }
    }
}

impl Progress for Reporter {
    fn stage(&self, name: &str) {
        Self::send(&Message::Stage(name.to_owned()));
    }
    fn message(&self, text: &str) {
        Self::send(&Message::Doing(text.to_owned()));
    }
    fn position(&self, done: u64, total: u64) {
        Self::send(&Message::Position(done, total));
    }
    fn warn(&self, text: &str) {
        Self::send(&Message::Warning(text.to_owned()));
    }
    fn finish(&self) {
        Self::send(&Message::Finished);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::progress::Silent;

    #[test]
    fn what_is_no_message_ends_it() {
        let relay = |bytes: &'static [u8]| relay(Some(bytes), &Silent, || false);
        let last = relay(b"{\"Stage\":\"one\"}\n{\"Done\":7}\n{\"Done\":8}\n").unwrap();
        assert_eq!(last.unwrap().unwrap(), 7);
        assert!(relay(b"{\"Stage\":\"one\"}\n").unwrap().is_none());
        for odd in [&b"hello\n"[..], b"{\"Done\":1} {\"Done\":2}\n", b"\n", b"{\"Done\":"] {
            let error = relay(odd).unwrap_err();
            assert!(error.to_string().starts_with("cannot understand the sandbox: "), "{error}");
        }
    }

    #[test]
    fn an_error_comes_out_as_it_went_in() {
        for error in [
            Error::input("no package `x`").hint("is it spelled right?"),
            Error::failure("disk full")
                .context("unpacking")
                .context("preparing")
                .hint("a")
                .hint("b"),
        ] {
            let line = serde_json::to_string(&Failure::from(&error)).unwrap();
            let back: Failure = serde_json::from_str(&line).unwrap();
            assert_eq!(Error::from(back), error);
        }
    }
}
