//! What goes between nodeforge and the copy of itself in the sandbox.
//!
//! Down, on standard input: one line of JSON, the [`Order`]; then nothing, but the pipe stays open
//! for as long as its sender lives. Up, on standard output: one [`Message`] a line.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::emulator::Emulator;
use crate::prepare::Job;
use crate::util::error::{Error, Kind, Problem};
use crate::util::progress::Progress;

/// A job and the folders it works in.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// What is to be done.
    pub job: Job,
    /// Removed when the job is over, well or not: trees whose files belong to other users.
    pub scratch: PathBuf,
    /// Removed as well when nodeforge itself is gone: nobody else will.
    pub temporary: PathBuf,
    /// Whether root, too, gets a user namespace. Others always do.
    pub own_users: bool,
    /// Whether what runs inside may use the terminal.
    pub has_terminal: bool,
    /// What the time is, in seconds since 1970, for programs that ask `SOURCE_DATE_EPOCH`; this
    /// process's when nothing is said.
    pub epoch: Option<i64>,
    /// What runs the image's programs, when the kernel does not.
    pub emulator: Option<Emulator>,
}

/// News from the sandbox.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    Stage(String),
    Doing(String),
    Position(u64, u64),
    Warning(String),
    Finished,
    /// The job is done; what it hands back.
    Done(serde_json::Value),
    /// The job failed.
    Failed(Failure),
}

/// An [`Error`] on its way out of the sandbox. Places in text files are never known there.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
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

/// Inside the sandbox: progress as messages on standard output.
pub(crate) struct Reporter;

impl Reporter {
    /// Sends one message. A reader that is gone is no concern of the job's: the lifeline is.
    pub(crate) fn send(message: &Message) {
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
