//! The checked type of a whole cluster.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::file_types::ExtraFile;
use super::origin::{ClusterSource, ValueOrigin};
use super::profile_types::Profile;
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
    /// Virtual size of every node's disk in bytes; `None` keeps the base's.
    pub disk_size: Option<u64>,
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
    /// What is left in the output folder.
    pub output: Output,
    /// All nodes in the order of the file, patterns expanded.
    pub nodes: Vec<Node>,
    /// Where each value came from.
    pub origins: Vec<ValueOrigin>,
    /// The files, variables and arguments it was read from.
    pub sources: Vec<ClusterSource>,
    /// Where the file says what later checks may blame.
    pub places: Places,
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
