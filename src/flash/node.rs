//! What a path given as DEVICE turns out to be.

use std::path::PathBuf;

use super::device::Device;

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceNode {
    /// A whole block device.
    Whole(Device),
    /// A partition.
    Partition {
        /// The device it is on.
        disk: PathBuf,
    },
    /// A regular file.
    File,
    /// Nothing.
    Missing,
    /// A folder, a character device, a pipe.
    Other,
}
