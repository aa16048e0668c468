//! What a session changed, so that it can be read back.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::resolve::FoundPath;
use super::{Attributes, FileType};
use crate::util::sha256::Sha256;

/// What must be found at a path. `None` is what was not touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Its type.
    pub file_type: FileType,
    /// A regular file's bytes.
    pub content: Option<Sha256>,
    /// A symlink's target.
    pub target: Option<PathBuf>,
    /// Owner and mode, where the file system stores them.
    pub attributes: Option<Attributes>,
    /// Extended attributes that were set, or removed.
    pub xattrs: BTreeMap<String, Option<Vec<u8>>>,
}

impl Expected {
    pub(super) fn new(file_type: FileType) -> Self {
        Self { file_type, content: None, target: None, attributes: None, xattrs: BTreeMap::new() }
    }
}

/// Every path that was changed. Names and files are kept apart, as a file can have several names.
#[derive(Debug, Default)]
pub(super) struct Written {
    names: BTreeMap<PathBuf, Option<FoundPath>>,
    files: HashMap<FoundPath, Expected>,
}

impl Written {
    /// `path` (without symlinks) is now a new file, and this is expected of it.
    pub(super) fn created(&mut self, path: PathBuf, at: FoundPath, expected: Expected) {
        self.names.insert(path, Some(at));
        self.files.insert(at, expected);
    }

    /// The file at `path` was changed: what was expected of it, to be amended.
    pub(super) fn changed(
        &mut self,
        path: PathBuf,
        at: FoundPath,
        file_type: FileType,
    ) -> &mut Expected {
        self.names.insert(path, Some(at));
        self.files.entry(at).or_insert_with(|| Expected::new(file_type))
    }

    /// `path`, with everything below it, does not exist any more.
    pub(super) fn removed(&mut self, path: &Path) {
        self.names.retain(|name, _| !name.starts_with(path));
        self.names.insert(path.to_owned(), None);
    }

    /// Every changed path and what must be there: `None` is nothing.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Path, Option<&Expected>)> {
        self.names.iter().map(|(path, at)| (path.as_path(), at.and_then(|at| self.files.get(&at))))
    }
}
