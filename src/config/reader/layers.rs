//! One TOML file being read. What is wrong with it is collected, not returned: a user mends all
//! mistakes in one go.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

use super::layer::{self, Layer, LayerText};
use super::span::{Span, Spanned};
use crate::config::file;
use crate::config::origin::{ClusterSource, Origin};
use crate::util::error::{Error, Place, Problem, Result, Source};

/// A file, or several laid over each other, and what is wrong with them.
pub(in crate::config) struct Reader {
    /// All text, shared with every error that points into it. Places in it become places of the
    /// layers when errors leave.
    pub(in crate::config) source: Arc<Source>,
    /// What relative paths in the first file start from.
    pub(in crate::config) directory: PathBuf,
    layers: Vec<Layer>,
    /// Whether the paths in it may lead anywhere: the user's own files' may, a profile's may not.
    is_confined: bool,
    problems: RefCell<Vec<Problem>>,
}

impl Reader {
    pub(in crate::config) fn new(name: String, text: String, directory: PathBuf) -> Self {
        let source = Source { name, text };
        Self::layered(vec![LayerText { origin: Origin::File, source, directory }])
    }

    /// A file whose paths may not lead out of its folder.
    pub(in crate::config) fn confined(name: String, text: String, directory: PathBuf) -> Self {
        Self { is_confined: true, ..Self::new(name, text, directory) }
    }

    /// Several files, each with its folder; what a later one says counts.
    pub(in crate::config) fn layered(texts: Vec<LayerText>) -> Self {
        let name = texts.first().map(|it| it.source.name.clone()).unwrap_or_default();
        let directory = texts.first().map(|it| it.directory.clone());
        let mut text = String::new();
        let mut layers = Vec::new();
        for given in texts {
            let layer = Layer::new(text.len(), given);
            text.push_str(&layer.text.source.text);
            // So that a layer's end is not the next one's beginning.
            text.push('\n');
            layers.push(layer);
        }
        let source = match layers.as_slice() {
            [only] => Arc::clone(&only.text.source),
            _ => Arc::new(Source { name, text }),
        };
        let directory = directory.unwrap_or_default();
        Self { source, directory, layers, is_confined: false, problems: RefCell::default() }
    }

    /// The files' tables, laid over each other. What is not TOML at all is reported and nothing
    /// else is then: half a file would only bring forth errors about what is missing from it. Keys
    /// given twice are the exception, since all else can be understood.
    pub(in crate::config) fn parse(&self) -> Result<DeTable<'_>> {
        let mut merged: Option<DeTable<'_>> = None;
        let mut is_readable = true;
        for layer in &self.layers {
            let (root, errors) = DeTable::parse_recoverable(&layer.padded);
            is_readable &= errors.iter().all(|error| error.message() == "duplicate key");
            for error in errors {
                let end = layer.padded.len();
                let span = error.span().unwrap_or(end..end);
                let problem = Problem::new(syntax_message(error.message(), self.slice(&span)));
                self.report(problem.at(&self.source, span));
            }
            let root = root.into_inner();
            merged = Some(match merged {
                Some(below) => layer::merge(below, root),
                None => root,
            });
        }
        if is_readable { Ok(merged.unwrap_or_default()) } else { Err(self.error()) }
    }

    /// The files.
    pub(in crate::config) fn sources(&self) -> Vec<ClusterSource> {
        self.layers.iter().map(|layer| layer.text.clone()).collect()
    }

    /// What kind of text bytes stand in.
    pub(in crate::config) fn origin(&self, span: &Span) -> Origin {
        self.layer(span).text.origin
    }

    /// Where bytes stand in their own file.
    pub(in crate::config) fn place(&self, span: &Span) -> Place {
        let layer = self.layer(span);
        let (start, end) = (span.start - layer.start, span.end - layer.start);
        Place { source: Arc::clone(&layer.text.source), span: start..end, note: None }
    }

    fn layer(&self, span: &Span) -> &Layer {
        let layers = self.layers.iter().rev();
        layers.into_iter().find(|layer| layer.start <= span.start).unwrap_or(&self.layers[0])
    }

    pub(in crate::config) fn report(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Reports something wrong with these bytes.
    pub(in crate::config) fn wrong(&self, span: &Span, message: impl Into<String>) {
        self.report(Problem::new(message).at(&self.source, span.clone()));
    }

    /// Reports something wrong with these bytes, and what to do about it.
    pub(in crate::config) fn wrong_hint(
        &self,
        span: &Span,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.report(Problem::new(message).at(&self.source, span.clone()).hint(hint));
    }

    /// Reports something wrong with these bytes, which may be a secret and are not shown.
    pub(in crate::config) fn wrong_secret(
        &self,
        span: &Span,
        message: impl Into<String>,
        hint: &str,
    ) {
        let hidden = "*".repeat(self.slice(span).chars().count());
        let Place { source, span, .. } = self.place(span);
        let text = &source.text;
        let masked = format!("{}{hidden}{}", &text[..span.start], &text[span.end..]);
        let shown = span.start..span.start + hidden.len();
        let source = Arc::new(Source { name: source.name.clone(), text: masked });
        self.report(Problem::new(message).at(&source, shown).hint(hint));
    }

    /// Passes on what came of something these bytes name, such as a file.
    pub(in crate::config) fn accept<T>(&self, span: &Span, result: Result<T>) -> Option<T> {
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
    pub(in crate::config) fn problem_count(&self) -> usize {
        self.problems.borrow().len()
    }

    /// All that is wrong, in the order of the file; `Ok` when nothing is.
    pub(in crate::config) fn finish(&self) -> Result<()> {
        let mut problems = self.problems.take();
        // Those of other files, which this one names, come after its own.
        problems.sort_by_key(|problem| {
            let place = problem.places.first();
            place.map(|place| (place.source.name != self.source.name, place.span.start))
        });
        let is_own = |place: &&mut Place| Arc::ptr_eq(&place.source, &self.source);
        for place in problems.iter_mut().flat_map(|it| &mut it.places).filter(is_own) {
            let Place { source, span, .. } = self.place(&place.span);
            (place.source, place.span) = (source, span);
        }
        Error::check(problems)
    }

    fn error(&self) -> Error {
        match self.finish() {
            Err(error) => error,
            Ok(()) => Error::input(format!("`{}` is not TOML", self.source.name)),
        }
    }

    /// What these bytes say.
    pub(in crate::config) fn slice(&self, span: &Span) -> &str {
        self.source.text.get(span.clone()).unwrap_or_default()
    }

    /// Whether the paths in it stay in its folder, and the environment is not its to read.
    pub(in crate::config) fn is_confined(&self) -> bool {
        self.is_confined
    }

    /// What relative paths in the file that holds these bytes start from.
    pub(in crate::config) fn directory_of(&self, span: &Span) -> &Path {
        &self.layer(span).directory
    }

    /// A path as the file that names it means it: `~` is the user's home, relative ones start at
    /// the file's folder. A profile's may not lead out of that.
    pub(in crate::config) fn resolve(&self, path: &Spanned<&str>) -> Result<PathBuf> {
        let (directory, path) = (self.directory_of(&path.span), Path::new(path.value));
        if self.is_confined {
            return file::below(directory, path)
                .map_err(|error| error.hint("a profile reads files of its own folder only"));
        }
        Ok(file::resolve(directory, path))
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
            format!("`{}` is not a value; text is written in quotes", first.trim())
        }
        _ => message.lines().next().unwrap_or("not TOML").to_owned(),
    }
}
