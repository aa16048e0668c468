//! What artifacts are made from.

use std::collections::BTreeSet;

use super::inputs::DiskInputs;
use super::prepared::PreparedBase;
use crate::config::Cluster;
use crate::disk::Delta;

/// A node, or the template, as artifacts are made from it.
pub struct NodeDisk<'a> {
    /// Its host name; empty for the template.
    pub hostname: &'a str,
    /// How its disk differs from the prepared base.
    pub delta: &'a Delta,
    /// What that delta was made from.
    pub inputs: &'a DiskInputs,
}

/// Nodes whose artifacts are made together, and everything they are made from.
pub struct Batch<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// What the names of artifacts begin with that these nodes share.
    pub base_name: &'a str,
    /// What these nodes share.
    pub prepared: &'a PreparedBase,
    /// What a machine cloned by hand starts from.
    pub template: NodeDisk<'a>,
    /// In the order of the cluster file.
    pub nodes: &'a [NodeDisk<'a>],
    /// Names of artifacts that are there already, as they would be made.
    pub fresh: &'a BTreeSet<String>,
    /// Whether what they share is made as well: with one of a base's batches.
    pub makes_shared: bool,
}
