//! A key for each node, all derived from one seed: a node that is added later changes no other's.

use std::collections::HashSet;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::generate;

/// The keys of a cluster's nodes: 32 bytes each.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeKeys {
    seed: [u8; 32],
    hostnames: Arc<HashSet<String>>,
}

impl NodeKeys {
    pub(super) fn new(seed: [u8; 32], hostnames: Arc<HashSet<String>>) -> Self {
        Self { seed, hostnames }
    }

    /// Whether a machine is one of the cluster's nodes.
    pub fn is_node(&self, name: &str) -> bool {
        self.hostnames.contains(name)
    }

    /// A node's key as 64 hexadecimal digits. HMAC gives nothing away of the seed nor of another's.
    pub fn of(&self, name: &str) -> String {
        let mut mac = <Hmac<Sha256>>::new_from_slice(&self.seed).expect("HMAC takes any key");
        mac.update(b"node-key\0");
        mac.update(name.as_bytes());
        generate::hex(&mac.finalize().into_bytes())
    }
}
