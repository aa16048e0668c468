//! The checked type of a whole cluster.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::file_types::ExtraFile;
use super::origin::{ClusterSource, ValueOrigin};
use super::profile_types::Profile;
use super::registry_reference::RegistryReference;
use super::setting_types::Setting;
use super::types::{Access, Base, HostKeys, Locale, Node, Output, Vm};
use crate::config::file;
use crate::util::error::{Place, Result};

/// A cluster file with its profile, all checked.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The cluster file as the user named it.
    pub file: PathBuf,
    /// Its folder: what relative paths start from.
    pub directory: PathBuf,
    /// A DNS label.
    pub name: String,
    /// The DNS domain the nodes' names end in.
    pub domain: Option<String>,
    /// What all nodes share.
    pub profile: Profile,
    /// The base: the cluster file's, else the profile's.
    pub base: Base,
    /// Every node's disk.
    pub disk: DiskSpec,
    /// Who logs in.
    pub access: Access,
    /// Where SSH host keys are made.
    pub host_keys: HostKeys,
    /// For whom the store of secrets is encrypted, as age names them: `age1…`. None: it is not.
    pub secret_recipients: Vec<String>,
    /// Time zone, keyboard, language.
    pub locale: Locale,
    /// The profile's settings, with the cluster file's values.
    pub settings: BTreeMap<String, Setting>,
    /// Extra files on every node.
    pub files: Vec<ExtraFile>,
    /// The virtual machines of the formats `vmwarevm` and `ova`.
    pub vm: Vm,
    /// Where prepared bases are kept for others.
    pub registry: RegistryUse,
    /// What is left in the output folder.
    pub output: Output,
    /// Packages that all nodes have beside the profile's, as each node lists them too.
    pub default_packages: Vec<String>,
    /// All nodes in the order of the file, patterns expanded.
    pub nodes: Vec<Node>,
    /// Where each value came from.
    pub origins: Vec<ValueOrigin>,
    /// The files, variables and arguments it was read from.
    pub sources: Vec<ClusterSource>,
    /// Where the file says what later checks may blame.
    pub places: Places,
}

/// How a registry is used for prepared bases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryUse {
    /// The repository; `None` is no registry.
    pub registry: Option<RegistryReference>,
    /// Whether what is prepared is pushed.
    pub push: bool,
}

/// Places in a cluster file.
#[derive(Clone, Debug)]
pub struct Places {
    /// The profile's name.
    pub profile: Place,
    /// The base it gives; the profile's name when that brings the base.
    pub base: Place,
    /// Values of the settings it gives.
    pub settings: BTreeMap<String, Place>,
}

impl Cluster {
    /// A path as messages have it: from the cluster file's folder when it is below that.
    pub fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.directory).unwrap_or(path).display().to_string()
    }

    /// A path that the profile names: below the cluster file's folder, links followed.
    pub fn below(&self, path: &Path) -> Result<PathBuf> {
        file::below(&self.directory, path)
    }
}

/// A node's disk, and what first boot makes of the rest of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskSpec {
    /// Virtual size in bytes; `None` keeps the base's.
    pub size: Option<u64>,
    /// How far the root grows, in bytes; `None`: as far as the disk reaches.
    pub root_size: Option<u64>,
    /// A Raspberry Pi 5's connector for drives, when it is to be switched on.
    pub nvme: Option<NvmeLink>,
    /// What follows the root, and what is on other disks.
    pub partitions: Vec<DataPartition>,
}

/// The speed of a Raspberry Pi 5's connector for drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NvmeLink {
    /// What it is certified for.
    Gen2,
    /// Twice as fast; most drives work.
    Gen3,
}

/// A partition for data, or another disk as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataPartition {
    /// Its label.
    pub name: String,
    /// Bytes; `None` is all that is left.
    pub size: Option<u64>,
    /// What is made in it, where nothing is in it yet.
    pub file_system: FileSystemChoice,
    /// Where it is mounted.
    pub mount: Option<String>,
    /// Another disk, used as a whole: `/dev/nvme0n1`. `None` is the root's.
    pub disk: Option<String>,
    /// The roles of the nodes that have it; all nodes when there is none.
    pub roles: Vec<String>,
}

/// What a partition for data holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystemChoice {
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
    /// Nothing: Ceph wants it so.
    Raw,
}
