//! One node's disk, to be written to a device: an image that is there, or a node stamped in memory.

use std::fs::File;
use std::io::{BufReader, Read as _};
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
use crate::disk::{self, Disk, Format, Overlay, Raw, Scratch};
use crate::download::unpack;
use crate::flash;
use crate::fs::{self, Kind};
use crate::image::{FsckPolicy, edit};
use crate::plan::{self, SharedBases};
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
    /// Opens an image of any format. `backing` is as in [`disk::open_over`].
    pub fn open(path: &Path, backing: &[PathBuf]) -> Result<Self> {
        let file = disk_of(path);
        let is_compressed = disk::probe(&file)?.is_compressed();
        let (disk, files): (Arc<dyn Disk>, _) = if let Some(disk) = open_archived(&file)? {
            (Arc::new(disk), vec![file])
        } else if is_compressed {
            (disk::open_forward(&file)?, disk::files(&file, backing)?)
        } else {
            (edit::open_to_read(&file, backing)?, disk::files(&file, backing)?)
        };
        refuse_what_is_no_disk(&*disk, path)?;
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
        Self::open(path, &[])
    }

    /// Stamps a node in memory, over its prepared base.
    pub fn stamp(
        cluster: &Cluster,
        node: &Node,
        options: &Options,
        preparation: Preparation,
        progress: &dyn Progress,
    ) -> Result<Self> {
        cluster.access.require_login()?;
        let secrets = Secrets::load_or_create(cluster)?;
        secrets.check_expiry(cluster)?;
        let changes = plan::node(cluster, node, &secrets)?;
        let base = SharedBases::of(cluster)?.of_node(node)?;
        let prepared = Project::open(cluster, options, progress)?.prepare(preparation, &base)?.base;
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

/// The image in an archive, compressed or not, unpacked into a file without a name; `None` for a file
/// that is no archive.
fn open_archived(path: &Path) -> Result<Option<Raw>> {
    let context = || format!("unpacking `{}`", path.display());
    let (format, raw) = disk::open_bytes(path)?;
    let mut head = vec![0; usize::try_from(raw.size().min(512)).unwrap_or(512)];
    if format.is_compressed() {
        let stream = BufReader::new(File::open(path).context(context)?);
        let stream = disk::decoder(stream, format).context(context)?;
        head.clear();
        stream.take(512).read_to_end(&mut head).context(context)?;
    } else if format == Format::Raw {
        raw.read_at(&mut head, 0).context(context)?;
    }
    if !disk::is_archive(&head) {
        return Ok(None);
    }
    let scratch = Scratch::default();
    let output = tempfile::tempfile_in(&scratch.folder)
        .context(|| format!("making a file in `{}`", scratch.folder.display()))?;
    let input = File::open(path).context(context)?;
    unpack(input, &output, scratch.limit).map_err(|it| Error::from(it).context(context()))?;
    Ok(Some(Raw::from_file(output, false)?))
}

/// A disk has a partition table, or is one file system: anything else would be written, verified, and
/// boot nothing.
fn refuse_what_is_no_disk(disk: &dyn Disk, path: &Path) -> Result<()> {
    if flash::table_sector_size(disk)?.is_some() {
        return Ok(());
    }
    match fs::probe(disk)? {
        Kind::Unknown | Kind::Empty => {
            Err(Error::input(format!("`{}` is not the image of a disk", path.display()))
                .hint("it has neither a partition table nor a file system"))
        }
        Kind::Ext4
        | Kind::Ext4Journal
        | Kind::Fat
        | Kind::ExFat
        | Kind::Ntfs
        | Kind::Btrfs
        | Kind::Xfs
        | Kind::F2fs
        | Kind::Lvm
        | Kind::Luks
        | Kind::BitLocker
        | Kind::Raid
        | Kind::Bcache
        | Kind::Swap
        | Kind::Squashfs
        | Kind::Erofs
        | Kind::Iso9660
        | Kind::HfsPlus
        | Kind::Apfs
        | Kind::Bcachefs => Ok(()),
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
