//! What went wrong, in the words of the user: one message, where, why, what to do.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose move it is: decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The input is wrong; the user can mend it. Exit code 2.
    Input,
    /// The input was right, and still it failed: a full disk, an unreachable mirror. Exit code 1.
    Failure,
    /// The input was right, and what was waited for did not come in time. Exit code 124, as of timeout(1).
    TimedOut,
    /// The user asked to stop. Exit code 130.
    Interrupted,
}

/// A text file that errors can point into.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// The name shown in messages, as the user gave it.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// A place in a text file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub source: Arc<Source>,
    /// Bytes of the file that are underlined.
    pub span: Range<usize>,
    /// What is to be said of these bytes, when more than one place is shown.
    pub note: Option<String>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// One line without a full stop; what the user wrote stands in backticks.
    pub message: String,
    /// Where, when a text file is to blame; the first is the culprit.
    pub places: Vec<Place>,
    /// Why, from the nearest cause to the deepest.
    pub causes: Vec<String>,
    /// What to do about it.
    pub hints: Vec<String>,
}

/// Everything that stopped a command. Never empty.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    problems: Vec<Problem>,
}

impl Problem {
    /// A problem with nothing but its message.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), places: Vec::new(), causes: Vec::new(), hints: Vec::new() }
    }

    /// Points at bytes of a text file.
    #[must_use]
    pub fn at(mut self, source: &Arc<Source>, span: Range<usize>) -> Self {
        self.places.push(Place { source: Arc::clone(source), span, note: None });
        self
    }

    /// Points at further bytes, saying what they have to do with it.
    #[must_use]
    pub fn also_at(
        mut self,
        source: &Arc<Source>,
        span: Range<usize>,
        note: impl Into<String>,
    ) -> Self {
        self.places.push(Place { source: Arc::clone(source), span, note: Some(note.into()) });
        self
    }

    /// Points at places that are known already.
    #[must_use]
    pub fn at_places(mut self, places: impl IntoIterator<Item = Place>) -> Self {
        self.places.extend(places);
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// A message alone is a problem too.
impl<T: Into<String>> From<T> for Problem {
    fn from(message: T) -> Self {
        Self::new(message)
    }
}

impl Error {
    /// The input is wrong: a message, or a problem with its place and hints.
    pub fn input(problem: impl Into<Problem>) -> Self {
        Self { kind: ErrorKind::Input, problems: vec![problem.into()] }
    }

    /// It failed, though the input was right.
    pub fn failure(problem: impl Into<Problem>) -> Self {
        Self { kind: ErrorKind::Failure, problems: vec![problem.into()] }
    }

    /// What is wrong and what to do about it, in one line, as part of another error's hint.
    pub fn advice(&self) -> String {
        let words =
            |it: &Problem| [std::slice::from_ref(&it.message), &it.hints].concat().join(": ");
        self.problems.iter().map(words).collect::<Vec<_>>().join("; ")
    }

    /// What was waited for did not come in time.
    pub fn timed_out(problem: impl Into<Problem>) -> Self {
        Self { kind: ErrorKind::TimedOut, problems: vec![problem.into()] }
    }

    /// The same where something has another name.
    #[must_use]
    pub fn renaming(mut self, from: &str, to: &str) -> Self {
        for problem in &mut self.problems {
            problem.message = problem.message.replace(from, to);
            for text in problem.causes.iter_mut().chain(&mut problem.hints) {
                *text = text.replace(from, to);
            }
        }
        self
    }

    /// The user asked to stop.
    pub fn interrupted() -> Self {
        Self { kind: ErrorKind::Interrupted, problems: vec![Problem::new("interrupted")] }
    }

    /// Everything that is wrong with an input at once; `Ok` when nothing is.
    pub fn check(problems: Vec<Problem>) -> Result<()> {
        if problems.is_empty() {
            return Ok(());
        }
        Err(Self { kind: ErrorKind::Input, problems })
    }

    /// Everything that failed while the rest was done; `Ok` when nothing did.
    pub fn failures(problems: Vec<Problem>) -> Result<()> {
        if problems.is_empty() {
            return Ok(());
        }
        Err(Self { kind: ErrorKind::Failure, problems })
    }

    /// Whose move it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Everything that is wrong, in the order found.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Some(last) = self.problems.last_mut() {
            last.hints.push(hint.into());
        }
        self
    }

    /// Without what was advised: something else is to be done.
    #[must_use]
    pub fn without_hints(mut self) -> Self {
        for problem in &mut self.problems {
            problem.hints.clear();
        }
        self
    }

    /// Says what was being done; what was said before becomes the cause.
    #[must_use]
    pub fn context(mut self, message: impl Into<String>) -> Self {
        // Of several problems each already says all there is to say.
        if let [problem] = self.problems.as_mut_slice()
            && self.kind != ErrorKind::Interrupted
        {
            let cause = std::mem::replace(&mut problem.message, message.into());
            problem.causes.insert(0, cause);
        }
        self
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            ErrorKind::Input => 2,
            ErrorKind::Failure => 1,
            ErrorKind::TimedOut => 124,
            ErrorKind::Interrupted => 130,
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        // An `Error` that travelled through a `std::io` interface comes out as it went in.
        match error.downcast::<Error>() {
            Ok(error) => error,
            Err(error) => Error::failure(describe_io(&error)),
        }
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        std::io::Error::other(error)
    }
}

/// `No such file or directory (os error 2)` without the number: it tells the user nothing.
fn describe_io(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

/// Adds what was being done to an error on its way up.
pub trait Context<T> {
    /// Says what was being done: "opening /dev/sda".
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|error| error.into().context(message()))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Plain text without places or hints; the command line renders the rest.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            f.write_str(&problem.message)?;
            for cause in &problem.causes {
                write!(f, ": {cause}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
