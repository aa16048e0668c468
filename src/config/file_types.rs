//! Checked types of files that a cluster or a profile brings.

use std::path::PathBuf;

use crate::util::error::Place;

/// An extra file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraFile {
    /// Absolute path on the node.
    pub path: String,
    /// Its bytes; of a template, UTF-8.
    pub bytes: Vec<u8>,
    /// Whether it is rendered for each node: given as `content`, or a `source` ending in `.j2`.
    pub is_template: bool,
    /// What to call the template in errors.
    pub template_name: String,
    /// The file of this machine that it was read from.
    pub source: Option<PathBuf>,
    /// Permission bits.
    pub mode: u32,
    /// Whose it is; the image must know the name.
    pub user: String,
    /// Likewise.
    pub group: String,
    /// On which nodes it is there; on all without one.
    pub when: Option<Condition>,
    /// Where it was asked for.
    pub place: Option<Place>,
}

/// A minijinja expression that says whether something is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `settings.backup == 'restic'`
    pub text: String,
    /// Where it stands.
    pub place: Place,
}

/// A file for people, left in the output folder by a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideFileSpec {
    /// Where it goes, from the output folder; may be a template.
    pub path: String,
    /// Its bytes; of a template, UTF-8.
    pub bytes: Vec<u8>,
    /// Whether it is rendered.
    pub is_template: bool,
    /// What to call the template in errors.
    pub template_name: String,
    /// The file of this machine that it was read from.
    pub source: Option<PathBuf>,
    /// Whether it is wanted; always without one.
    pub when: Option<Condition>,
    /// Where it was asked for.
    pub place: Place,
}
