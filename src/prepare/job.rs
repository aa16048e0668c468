//! The job of the sandbox as it is asked for: a root file system is to be prepared.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::partitions::FatPartition;
use crate::cache::Package;
use crate::change::Change;
use crate::config::Arch;
use crate::fs::ImagePartition;
use crate::sandbox::{JobRequest, Sandbox};
use crate::util::sha256::Sha256;

/// A root file system to be prepared.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PrepareJob {
    /// How the root is made reachable.
    pub sandbox: Sandbox,
    /// The image that is only read; its root is what [`Sandbox::Userns`] unpacks.
    pub base: PathBuf,
    /// The image being made, grown already; its root partition.
    pub partition: ImagePartition,
    /// Its FAT file systems.
    pub fat: Vec<FatPartition>,
    /// What is to be done, in this order; packages and their sources come first.
    pub changes: Vec<Change>,
    /// Verified files from elsewhere, by their SHA-256.
    pub files: BTreeMap<Sha256, PathBuf>,
    /// The .deb files of earlier builds.
    pub archives: PathBuf,
    /// The packages to be installed, when an earlier build found them out already.
    pub locked: Vec<Package>,
    /// Whether all of them must come from `archives`.
    pub offline: bool,
    /// Whether a shell is opened in the root when packages cannot be installed.
    pub shell_on_failure: bool,
    /// What the image's programs run on, when this machine is another.
    pub foreign: Option<Arch>,
    /// Where apt's output goes.
    pub log: PathBuf,
}

impl JobRequest for PrepareJob {
    const NAME: &'static str = "prepare";
    type Output = Vec<Package>;
}
