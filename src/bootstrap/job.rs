//! The job of the sandbox as it is asked for: a root file system is to be made from packages.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cache::Package;
use crate::change::Change;
use crate::fs::ImagePartition;
use crate::fs::mkfs::NewExt4;
use crate::sandbox::JobRequest;

/// Documentation and translations, which are not read on a node. Licences stay.
pub(super) const DPKG_EXCLUDES: &str = "path-exclude=/usr/share/man/*\n\
                             path-exclude=/usr/share/info/*\n\
                             path-exclude=/usr/share/locale/*\n\
                             path-exclude=/usr/share/doc/*\n\
                             path-include=/usr/share/doc/*/copyright\n";

/// A root file system to be made from packages.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BootstrapJob {
    pub(super) suite: String,
    pub(super) arch: String,
    pub(super) mirror: Option<String>,
    pub(super) packages: Vec<String>,
    pub(super) changes: Vec<Change>,
    pub(super) ext4: NewExt4,
    /// Where it goes.
    pub(super) partition: ImagePartition,
    /// Files of the root, and where they are to be copied.
    pub(super) keep: Vec<(PathBuf, PathBuf)>,
    /// A shell's words that make further files, with the new root as `$1`.
    pub(super) make: Option<String>,
    pub(super) log: PathBuf,
}

impl JobRequest for BootstrapJob {
    const NAME: &'static str = "bootstrap";
    type Output = Vec<Package>;
}
