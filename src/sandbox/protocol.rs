//! What goes between nodeforge and the copy of itself in the sandbox, whatever kind of sandbox it is.
//!
//! Down, on standard input: one line of JSON, the [`JobSpec`]; then nothing, but the pipe stays open
//! for as long as its sender lives. Up, on standard output: one [`Message`] a line.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::emulator::Emulator;
use super::job::json_error;
use crate::util::error::{Context as _, Error, Kind, Problem, Result};
use crate::util::interrupt;
use crate::util::progress::Progress;

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
        let input = error.kind() == Kind::Input;
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
/// there was none.
pub(super) fn relay<R: Read + Send + 'static>(
    stdout: Option<R>,
    progress: &dyn Progress,
) -> Result<Option<Result<Value>>> {
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
            Ok(Message::Done(value)) => return Ok(Some(Ok(value))),
            Ok(Message::Failed(failure)) => return Ok(Some(Err(failure.into()))),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
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
