use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::User;

/// The day that nodeforge takes it for, unless a test says another.
const TODAY: &str = "2026-11-30";

/// One run of nodeforge: `Run::new(["check"]).folder(&dir).fails(2).stderr("…")`.
#[must_use]
pub(crate) struct Run {
    command: Command,
}

/// How it went.
pub(crate) struct Finished {
    pub(crate) output: Output,
}

impl Run {
    /// As the user who runs the tests.
    pub(crate) fn new<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        Self::by(&User::current(), arguments)
    }

    /// As another user.
    pub(crate) fn by<S: AsRef<OsStr>>(user: &User, arguments: impl IntoIterator<Item = S>) -> Self {
        let mut command = user.command(env!("CARGO_BIN_EXE_nodeforge"));
        // What is supported, and for how long, depends on the day.
        command.args(arguments).env("NODEFORGE_TODAY", TODAY).stdin(Stdio::null());
        // What works on every host, so that every host tests the same.
        command.env("NODEFORGE_ACCEL", "tcg");
        Self { command }
    }

    /// Further arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Where it runs.
    pub(crate) fn folder(mut self, folder: impl AsRef<Path>) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// One variable of its environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// The command itself, for tests that do not wait for its end.
    pub(crate) fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    fn finish(mut self) -> Finished {
        let output = self.command.output().expect("nodeforge starts");
        Finished { output }
    }

    /// Runs it and wants it to succeed.
    #[track_caller]
    pub(crate) fn succeeds(self) -> Finished {
        self.exits(0)
    }

    /// Runs it and wants it to fail with either exit code.
    #[track_caller]
    pub(crate) fn fails(self) -> Finished {
        let finished = self.finish();
        let code = finished.output.status.code();
        assert!(matches!(code, Some(1 | 2)), "{code:?}: {}", finished.stderr_text());
        finished
    }

    /// Runs it and wants this exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Finished {
        let finished = self.finish();
        assert_eq!(
            finished.output.status.code(),
            Some(code),
            "stdout:\n{}\nstderr:\n{}",
            finished.stdout_text(),
            finished.stderr_text()
        );
        finished
    }
}

impl Finished {
    pub(crate) fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    pub(crate) fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// Wants exactly this on stderr.
    #[track_caller]
    pub(crate) fn stderr(self, expected: &str) -> Self {
        similar(&self.stderr_text(), expected);
        self
    }

    /// Wants exactly this on stdout.
    #[track_caller]
    pub(crate) fn stdout(self, expected: &str) -> Self {
        similar(&self.stdout_text(), expected);
        self
    }
}

#[track_caller]
fn similar(found: &str, expected: &str) {
    assert!(found == expected, "\n--- found\n{found}\n--- expected\n{expected}\n---");
}
