//! One node's disk, to be written to a device: an image that is there, or a node stamped in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::find::OutputFolder;
use super::prepared::Preparation;
use super::project::{Options, Project};
use super::stale::refuse_stale;
use super::stamp::stamp;
use crate::artifact::{Manifest, disk_of, in_use};
use crate::cache::CachedImage;
use crate::config::{Cluster, Node};
use crate::disk::{self, Disk, Overlay};
use crate::image::{FsckPolicy, edit};
use crate::plan;
use crate::secrets::Secrets;
use crate::util::error::{Context, Error, Result};
use crate::util::progress::Progress;

/// A disk, and what must stay as it is while the disk is read.
pub struct NodeImage {
    /// As messages call it.
    pub name: String,
    /// Its bytes.
    pub disk: Arc<dyn Disk>,
    /// The files that are read meanwhile, the image first.
    pub files: Vec<PathBuf>,
    /// Keeps it in the cache.
    _in_use: Option<CachedImage>,
}

impl NodeImage {
    /// Opens an image of any format.
    pub fn open(path: &Path) -> Result<Self> {
        let file = disk_of(path);
        let disk = if disk::probe(&file)?.is_compressed() {
            disk::open_forward(&file)?
        } else {
            edit::open_to_read(&file)?
        };
        let files = disk::files(&file)?;
        Ok(Self { name: path.display().to_string(), disk, files, _in_use: None })
    }

    /// Opens what a build made of a node. What is not the node that the cluster file describes now, or
    /// what a machine has written to since, is refused.
    pub fn open_artifact(
        path: &Path,
        node: &str,
        cluster: Option<&Cluster>,
        folder: &OutputFolder,
    ) -> Result<Self> {
        // Where there is no cluster file, the artifact is all there is.
        if let Some(cluster) = cluster {
            refuse_stale(path, node, cluster, folder)?;
        }
        refuse_started(path, node, folder)?;
        Self::open(path)
    }

    /// Stamps a node in memory, over its prepared base.
    pub fn stamp(
        cluster: &Cluster,
        node: &Node,
        options: &Options,
        preparation: Preparation,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let secrets = Secrets::load_or_create(cluster)?;
        secrets.check_expiry(cluster)?;
        let changes = plan::node(cluster, node, &secrets)?;
        let prepared = Project::open(cluster, options, progress)?.prepare(preparation)?.base;
        progress.stage("stamping the node");
        let delta = stamp(&prepared, &changes, FsckPolicy::Auto)
            .context(|| format!("stamping `{}`", node.hostname))?;
        Ok(Self {
            name: node.hostname.clone(),
            disk: Arc::new(Overlay::with_delta(Arc::clone(&prepared.disk), delta)),
            files: vec![prepared.image.path.clone()],
            _in_use: Some(prepared.image),
        })
    }
}

/// What a machine wrote to its disk is not what was built, and while it runs it goes on writing.
fn refuse_started(artifact: &Path, node: &str, folder: &OutputFolder) -> Result<()> {
    let name = artifact.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some(manifest) = Manifest::read(&folder.path) else { return Ok(()) };
    if in_use(&manifest.cluster, [name], &folder.path).is_empty() {
        return Ok(());
    }
    let path = artifact.display();
    Err(Error::input(format!("`{path}` was started after it was built"))
        .hint(format!("`nodeforge build --replace {node}` builds it again"))
        .hint(format!("`nodeforge flash {path} DEVICE` writes it as it is")))
}
