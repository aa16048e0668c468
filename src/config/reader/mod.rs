//! One TOML file being read. What is wrong with it is collected, not returned: a user mends all
//! mistakes in one go.

mod table;
mod value;

pub(super) use table::Table;
pub(super) use value::Value;

use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

use crate::config::file;
use crate::error::{Error, Problem, Result, Source};

/// Bytes of a file.
pub(super) type Span = Range<usize>;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spanned<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

impl<T> Spanned<T> {
    pub(super) fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// A file and what is wrong with it.
pub(super) struct Reader {
    /// The text, shared with every error that points into it.
    pub(super) source: Arc<Source>,
    /// What relative paths in the file start from.
    pub(super) directory: PathBuf,
    problems: RefCell<Vec<Problem>>,
}

impl Reader {
    pub(super) fn new(name: String, text: String, directory: PathBuf) -> Self {
        let source = Arc::new(Source { name, text });
        Self { source, directory, problems: RefCell::default() }
    }

    /// The file's tables. What is no TOML at all is reported and nothing else is then: half a
    /// file would only bring forth errors about what is missing from it. Keys given twice are
    /// the exception, since all else can be understood.
    pub(super) fn parse(&self) -> Result<DeTable<'_>> {
        let (root, errors) = DeTable::parse_recoverable(&self.source.text);
        let only_duplicates = errors.iter().all(|error| error.message() == "duplicate key");
        for error in errors {
            let end = self.source.text.len();
            let span = error.span().unwrap_or(end..end);
            let problem = Problem::new(syntax_message(error.message(), self.slice(&span)));
            self.report(problem.at(&self.source, span));
        }
        if only_duplicates { Ok(root.into_inner()) } else { Err(self.error()) }
    }

    pub(super) fn report(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Reports something wrong with these bytes.
    pub(super) fn wrong(&self, span: &Span, message: impl Into<String>) {
        self.report(Problem::new(message).at(&self.source, span.clone()));
    }

    /// Reports something wrong with these bytes, and what to do about it.
    pub(super) fn wrong_hint(
        &self,
        span: &Span,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.report(Problem::new(message).at(&self.source, span.clone()).hint(hint));
    }

    /// Reports something wrong with these bytes, which may be a secret and are not shown.
    pub(super) fn wrong_secret(&self, span: &Span, message: impl Into<String>, hint: &str) {
        let text = &self.source.text;
        let hidden = "*".repeat(self.slice(span).chars().count());
        let masked = format!("{}{hidden}{}", &text[..span.start], &text[span.end..]);
        let shown = span.start..span.start + hidden.len();
        let source = Arc::new(Source { name: self.source.name.clone(), text: masked });
        self.report(Problem::new(message).at(&source, shown).hint(hint));
    }

    /// Passes on what came of something these bytes name, such as a file.
    pub(super) fn accept<T>(&self, span: &Span, result: Result<T>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        for problem in error.problems() {
            let mut problem = problem.clone();
            if problem.places.is_empty() {
                problem = problem.at(&self.source, span.clone());
            }
            self.report(problem);
        }
        None
    }

    /// How much is wrong so far.
    pub(super) fn problem_count(&self) -> usize {
        self.problems.borrow().len()
    }

    /// All that is wrong, in the order of the file; `Ok` when nothing is.
    pub(super) fn finish(&self) -> Result<()> {
        let mut problems = self.problems.take();
        // Those of other files, which this one names, come after its own.
        problems.sort_by_key(|problem| {
            let place = problem.places.first();
            place.map(|place| (place.source.name != self.source.name, place.span.start))
        });
        Error::from_problems(problems)
    }

    fn error(&self) -> Error {
        match self.finish() {
            Err(error) => error,
            Ok(()) => Error::input(format!("`{}` is no TOML", self.source.name)),
        }
    }

    fn slice(&self, span: &Span) -> &str {
        self.source.text.get(span.clone()).unwrap_or_default()
    }

    /// A path as the file means it: `~` is the user's home, relative ones start at the file's
    /// folder.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        file::resolve(&self.directory, Path::new(path))
    }
}

/// toml's own words, as a sentence that says what the file has.
fn syntax_message(message: &str, found: &str) -> String {
    let first = found.lines().next().unwrap_or_default();
    match message {
        "duplicate key" => format!("`{first}` is given twice"),
        "string values must be quoted, expected literal string" if first.trim().is_empty() => {
            "there is no value after the `=`".into()
        }
        "string values must be quoted, expected literal string" => {
            format!("`{}` is no value; text stands in quotes", first.trim())
        }
        _ => message.lines().next().unwrap_or("not TOML").to_owned(),
    }
}
