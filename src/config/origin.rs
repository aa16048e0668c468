//! Where the values of a cluster came from.

use std::fmt;
use std::sync::Arc;

use crate::util::error::Source;

/// What gave a value, from the least to the most weighty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A cluster file.
    File,
    /// A variable of the environment.
    Environment,
    /// An argument of the command line.
    CommandLine,
}

/// A text that describes a cluster, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSource {
    /// What kind of text it is.
    pub origin: Origin,
    /// Its name and the text itself.
    pub source: Arc<Source>,
}

/// A value of the cluster, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueOrigin {
    /// `settings.pod_subnet`
    pub key: String,
    /// The value as it is written, shortened to one line.
    pub value: String,
    /// Where it came from.
    pub giver: ValueGiver,
}

/// What gave a value of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueGiver {
    /// A file, a variable or an argument.
    Source {
        /// Which of these it is.
        origin: Origin,
        /// `home.toml`, `$NODEFORGE__DISK__SIZE`, `--set`.
        name: String,
        /// The line of a file, from 1.
        line: usize,
    },
    /// The default of the profile of this name.
    Profile(String),
}

/// `home.toml:12`, `--set`, `$NODEFORGE__DISK__SIZE`, `default of the profile quickstart`.
impl fmt::Display for ValueGiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source { origin: Origin::File, name, line } => write!(f, "{name}:{line}"),
            // It has one line.
            Self::Source { origin: Origin::Environment | Origin::CommandLine, name, .. } => {
                f.write_str(name)
            }
            Self::Profile(name) => write!(f, "default of the profile {name}"),
        }
    }
}
