//! What the store of a cluster's secrets holds.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use super::made::{MadeSecret, SshHostKey};
use crate::config::SecretKind;

/// A generated secret and the day it was made.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Stored<T> {
    pub(super) value: T,
    /// `2026-11-21`, UTC.
    pub(super) created: String,
}

/// A secret of the profile, as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct NamedSecret {
    pub(super) kind: SecretKind,
    pub(super) made: MadeSecret,
}

/// Everything in a store. It has no `Debug`: nothing of it is ever printed.
#[derive(Clone)]
pub(super) struct StoredSecrets {
    /// The name of the cluster whose secrets they are.
    pub(super) cluster: String,
    /// What machine ids follow from.
    pub(super) seed: Zeroizing<[u8; 32]>,
    /// The day the seed was made.
    pub(super) seed_created: String,
    /// The profile's secrets by their names.
    pub(super) named: BTreeMap<String, Stored<NamedSecret>>,
    /// SSH host keys by host name.
    pub(super) host_keys: BTreeMap<String, Stored<SshHostKey>>,
}

/// What a stored secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredKind {
    /// What machine ids follow from.
    Seed,
    /// The SSH host key of a node.
    NodeHostKey,
    /// A secret of the profile.
    Profile(SecretKind),
}

/// As users see it: `seed`, or what a profile calls it.
impl fmt::Display for StoredKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seed => "seed",
            Self::NodeHostKey => SecretKind::SshHostKey.name(),
            Self::Profile(kind) => kind.name(),
        })
    }
}

/// What is told of a stored secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRecord {
    /// `join_token`, `ssh_host_key/server1`, `seed`.
    pub name: String,
    /// What it is.
    pub kind: StoredKind,
    /// The day it was made: `2026-11-21`, UTC.
    pub created: String,
    /// Days since then; `None` when the store has no date there.
    pub age_days: Option<u64>,
}
