//! A key for each node, all derived from one seed: a node that is added later changes no other's.

use std::collections::HashSet;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::secrets::generate;
use crate::util::hex;

/// The keys of a cluster's nodes: 32 bytes each.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeKeys {
    seed: Zeroizing<[u8; 32]>,
    hostnames: Arc<HashSet<String>>,
}

impl NodeKeys {
    pub(crate) fn new(seed: Zeroizing<[u8; 32]>, hostnames: Arc<HashSet<String>>) -> Self {
        Self { seed, hostnames }
    }

    /// Whether a machine is one of the cluster's nodes.
    pub fn is_node(&self, name: &str) -> bool {
        self.hostnames.contains(name)
    }

    /// A node's key as 64 hexadecimal digits.
    pub fn of(&self, name: &str) -> String {
        hex::hex(&generate::derive(&self.seed, &["node-key", name]))
    }
}
