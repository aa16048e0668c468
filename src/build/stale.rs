//! Whether an artifact is still what a build would make.

use std::path::Path;

use super::find::OutputFolder;
use crate::apply;
use crate::artifact::{DiskInputs, Manifest, flashable};
use crate::base::LockFile;
use crate::change::Change;
use crate::config::{Cluster, Node};
use crate::plan::{self, SharedBase, SharedBases};
use crate::secrets::Secrets;
use crate::util::error::{Error, Result};
use crate::util::sha256::Sha256;

/// What all disks of a prepared base's nodes are made from besides their own plans.
pub(super) struct SharedInputs {
    key: [u8; 32],
    prepared: Sha256,
    clock: i64,
}

impl SharedInputs {
    /// The changes that prepare the base, and everything that the lock file pins for it. Neither the base nor the
    /// cache is needed to know it.
    pub(super) fn of(
        cluster: &Cluster,
        base: &SharedBase,
        secrets: &Secrets,
        lock: &LockFile,
    ) -> Result<Self> {
        let changes = plan::prepare(cluster, &base.packages)?;
        let prepared =
            serde_json::to_vec(&(lock.lock.of_base(&base.own), changes)).map_err(|error| {
                Error::failure(format!("cannot hash what a base is made of: {error}"))
            })?;
        Ok(Self {
            key: secrets.inputs_key(),
            prepared: Sha256::of(prepared),
            clock: apply::clock()?,
        })
    }

    /// What a disk with these changes is made from.
    pub(super) fn disk(&self, changes: &[Change]) -> Result<DiskInputs> {
        DiskInputs::new(self.key, self.prepared, changes, self.clock)
    }
}

/// Refuses an artifact of a node that is not what a build would make now.
pub(super) fn refuse_stale(
    artifact: &Path,
    hostname: &str,
    cluster: &Cluster,
    folder: &OutputFolder,
) -> Result<()> {
    let node = cluster.nodes.iter().find(|it| it.hostname == hostname);
    if let Some(node) = node
        && is_fresh(artifact, node, cluster, folder)?
    {
        return Ok(());
    }
    let path = artifact.display();
    let why = match node {
        Some(_) => "what it was built from has changed",
        None => "the cluster file has no such node any more",
    };
    let error = Error::input(format!("`{path}` is out of date: {why}"));
    let error = match node {
        Some(_) => error.hint(format!("`nodeforge build {hostname}` builds it again")),
        None => error,
    };
    Err(error.hint(format!("`nodeforge flash {path} DEVICE` writes it as it is")))
}

/// Whether the manifest says that an artifact was made from all that it would be made from now.
fn is_fresh(
    artifact: &Path,
    node: &Node,
    cluster: &Cluster,
    folder: &OutputFolder,
) -> Result<bool> {
    let name = artifact.file_name().unwrap_or_default().to_string_lossy();
    let formats = flashable();
    let format = formats.iter().find(|it| it.of_node(&node.hostname).is_some_and(|it| it == *name));
    let (Some(format), Some(manifest)) = (format, Manifest::read(&folder.path)) else {
        return Ok(false);
    };
    let recorded = manifest.artifacts.iter().find(|it| it.is_of(&name));
    let Some(recorded) = recorded.and_then(|it| it.inputs.as_ref()) else { return Ok(false) };
    let secrets = Secrets::load_or_pretend(cluster)?;
    let changes = plan::node(cluster, node, &secrets)?;
    let lock = LockFile::open(&cluster.directory)?;
    let base = SharedBases::of(cluster)?.of_node(node)?;
    let disk = SharedInputs::of(cluster, &base, &secrets, &lock)?.disk(&changes)?;
    Ok(format.inputs(&disk, cluster, Some(&node.hostname)) == *recorded)
}
