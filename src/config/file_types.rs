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

/// Something that a running cluster must learn of a node that joins it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lesson {
    /// What it is, in a line or more; a template. Without it, a file that differs is not worth a word.
    pub about: Option<String>,
    /// What is learned.
    pub subject: LessonSubject,
    /// Whether there is anything to learn; always without one.
    pub when: Option<Condition>,
}

/// What is learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LessonSubject {
    /// A manifest for the cluster's API.
    Manifest {
        /// Its bytes; of a template, UTF-8.
        bytes: Vec<u8>,
        /// Whether it is rendered.
        is_template: bool,
        /// What to call the template in errors.
        template_name: String,
    },
    /// A file of the nodes that run, which would not be the same with the new one: where it is there.
    File(String),
}
