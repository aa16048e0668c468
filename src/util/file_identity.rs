//! What tells that a file is still the same file, without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use serde::{Deserialize, Serialize};

/// Where a file lies, how large it is and when it last changed in any way.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
    /// Bytes.
    pub(crate) size: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
    /// The same, of the last change of anything about the file.
    changed: (i64, i64),
}

impl FileIdentity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}
