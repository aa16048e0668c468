//! One of several files that are laid over each other.

use std::path::PathBuf;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use crate::config::origin::{ClusterSource, Origin};
use crate::util::error::Source;

/// A text that is to be read, alone or over others.
pub(in crate::config) struct LayerText {
    /// What kind of text it is.
    pub(in crate::config) origin: Origin,
    /// Its name and the text itself.
    pub(in crate::config) source: Source,
    /// What relative paths in it start from.
    pub(in crate::config) directory: PathBuf,
}

/// A file among those that are read together.
pub(super) struct Layer {
    /// Where it begins in the text of all.
    pub(super) start: usize,
    /// The file itself.
    pub(super) text: ClusterSource,
    /// What relative paths in it start from.
    pub(super) directory: PathBuf,
    /// Its text behind as many blanks as make places in it places in the text of all.
    pub(super) padded: String,
}

impl Layer {
    pub(super) fn new(start: usize, given: LayerText) -> Self {
        let LayerText { origin, source, directory } = given;
        let padded = format!("{}{}", " ".repeat(start), source.text);
        let text = ClusterSource { origin, source: Arc::new(source) };
        Self { start, text, directory, padded }
    }
}

/// One table over another: tables are merged, all else is replaced.
pub(super) fn merge<'a>(mut below: DeTable<'a>, above: DeTable<'a>) -> DeTable<'a> {
    for (key, mut value) in above {
        if let Some((_, beneath)) = below.remove_entry(key.get_ref().as_ref())
            && let (DeValue::Table(lower), DeValue::Table(upper)) =
                (beneath.into_inner(), value.get_mut())
        {
            *upper = merge(lower, std::mem::take(upper));
        }
        // With its own key: that is where a mistake in it stands.
        below.insert(key, value);
    }
    below
}
