//! The secrets of a cluster, in `nodeforge.secrets` beside its cluster file: made once, kept.

mod generate;
mod store;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use uuid::Uuid;

use super::{Cluster, HostKeys};
use crate::error::{Error, Result};

/// The store's file name.
const FILE: &str = "nodeforge.secrets";

/// A host's SSH key.
#[derive(Clone, PartialEq, Eq)]
pub struct SshHostKey {
    /// OpenSSH's own format, for `/etc/ssh/ssh_host_ed25519_key`.
    pub private: String,
    /// `ssh-ed25519 AAAA… HOSTNAME`, without a line end.
    pub public: String,
}

/// A generated secret and the day it was made.
#[derive(Clone, PartialEq, Eq)]
struct Stored<T> {
    value: T,
    /// `2026-11-21`, UTC.
    created: String,
}

/// The secrets of one cluster. Nothing of it is ever printed: it has no `Debug`.
#[derive(Clone)]
pub struct Secrets {
    cluster: String,
    seed: [u8; 32],
    seed_created: String,
    named: BTreeMap<String, Stored<String>>,
    host_keys: BTreeMap<String, Stored<SshHostKey>>,
    is_stored: bool,
}

impl Secrets {
    /// Where the cluster's store is.
    pub fn path(cluster: &Cluster) -> PathBuf {
        cluster.directory.join(FILE)
    }

    /// Reads the store and makes what the cluster needs and it lacks. What is there is never made
    /// anew. Two nodeforges at once wait for each other.
    pub fn load_or_create(cluster: &Cluster) -> Result<Self> {
        let path = Self::path(cluster);
        let _lock = store::lock(&cluster.directory)?;
        let found = store::read(&path)?;
        let is_new = found.is_none();
        let mut secrets = Self::or_new(found, cluster, &path)?;
        if secrets.complete(cluster)? || is_new {
            store::write(&path, &secrets, is_new)?;
        }
        secrets.is_stored = true;
        Ok(secrets)
    }

    /// Reads the store, and makes what it lacks in memory only: for commands that change nothing.
    /// What was made so is different each time; [`Secrets::is_stored`] tells.
    pub fn load_or_pretend(cluster: &Cluster) -> Result<Self> {
        let path = Self::path(cluster);
        let found = store::read(&path)?;
        let is_new = found.is_none();
        let mut secrets = Self::or_new(found, cluster, &path)?;
        secrets.is_stored = !secrets.complete(cluster)? && !is_new;
        Ok(secrets)
    }

    /// Whether all of it will be the same the next time.
    pub fn is_stored(&self) -> bool {
        self.is_stored
    }

    /// `/etc/machine-id` of a node: 32 hexadecimal digits, a version 4 UUID as systemd makes them.
    /// It follows from the seed, the cluster's name and the node's.
    pub fn machine_id(&self, hostname: &str) -> String {
        self.derived_id("machine-id", hostname).simple().to_string()
    }

    /// The id of a node's disk: two of one cluster may meet in one machine. It follows as the
    /// machine id does.
    pub fn disk_id(&self, hostname: &str) -> Uuid {
        self.derived_id("disk-id", hostname)
    }

    /// A version 4 UUID that nobody guesses who has not the seed.
    fn derived_id(&self, purpose: &str, hostname: &str) -> Uuid {
        let mut mac = <Hmac<Sha256>>::new_from_slice(&self.seed).expect("HMAC takes any key");
        mac.update(format!("{purpose}/{}/{hostname}", self.cluster).as_bytes());
        let digest = mac.finalize().into_bytes();
        let bytes = *digest.first_chunk().expect("a digest has 32 bytes");
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    /// A node's SSH host key; an error when `host_keys` is not `build`.
    pub fn ssh_host_key(&self, hostname: &str) -> Result<&SshHostKey> {
        let key = self.host_keys.get(hostname).map(|stored| &stored.value);
        key.ok_or_else(|| Error::failure(format!("no SSH host key was made for `{hostname}`")))
    }

    /// A secret of the profile by name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.named.get(name).map(|stored| stored.value.as_str())
    }

    /// The names of all that is stored, with the day each was made: for `secrets show`.
    pub fn ages(&self) -> Vec<(String, &str)> {
        let seed = [("seed".to_owned(), self.seed_created.as_str())];
        let named = self.named.iter().map(|(name, it)| (name.clone(), it.created.as_str()));
        let keys = self.host_keys.iter();
        let keys = keys.map(|(host, it)| (format!("ssh_host_key/{host}"), it.created.as_str()));
        seed.into_iter().chain(named).chain(keys).collect()
    }

    fn or_new(found: Option<Self>, cluster: &Cluster, path: &Path) -> Result<Self> {
        let Some(secrets) = found else { return Self::new(&cluster.name) };
        if secrets.cluster != cluster.name {
            let message = format!(
                "`{}` holds the secrets of the cluster `{}`, not of `{}`",
                path.display(),
                secrets.cluster,
                cluster.name
            );
            return Err(Error::input(message).hint(
                "each cluster has a folder of its own; after renaming one, write the new name \
                 into that file",
            ));
        }
        Ok(secrets)
    }

    fn new(cluster: &str) -> Result<Self> {
        Ok(Self {
            cluster: cluster.to_owned(),
            seed: generate::random()?,
            seed_created: generate::today(),
            named: BTreeMap::new(),
            host_keys: BTreeMap::new(),
            is_stored: false,
        })
    }

    /// Makes what is missing; whether anything was.
    fn complete(&mut self, cluster: &Cluster) -> Result<bool> {
        let today = generate::today();
        let mut changed = false;
        for spec in &cluster.profile.secrets {
            if !self.named.contains_key(&spec.name) {
                let stored = Stored { value: generate::secret(spec.kind)?, created: today.clone() };
                self.named.insert(spec.name.clone(), stored);
                changed = true;
            }
        }
        if cluster.host_keys == HostKeys::FirstBoot {
            return Ok(changed);
        }
        for node in &cluster.nodes {
            if !self.host_keys.contains_key(&node.hostname) {
                let value = generate::ssh_host_key(&node.hostname)?;
                let stored = Stored { value, created: today.clone() };
                self.host_keys.insert(node.hostname.clone(), stored);
                changed = true;
            }
        }
        Ok(changed)
    }
}

#[cfg(test)]
mod tests;
