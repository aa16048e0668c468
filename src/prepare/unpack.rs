//! A base's root file system as a folder.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fs::{Attributes, FileType};

/// A device of an image.
pub(super) struct Device {
    pub path: PathBuf,
    pub file_type: FileType,
    pub number: (u32, u32),
    pub attributes: Attributes,
}

pub(super) fn unpack(_base: &Path, _into: &Path) -> Result<Vec<Device>> {
    Err(Error::failure("waiting for image::extract"))
}
