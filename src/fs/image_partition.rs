//! A partition within a disk image's file.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A partition of a disk image, for an ext4.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ImagePartition {
    /// The disk image.
    pub disk: PathBuf,
    /// First byte of the partition.
    pub offset: u64,
    /// Bytes of the partition.
    pub size: u64,
}
