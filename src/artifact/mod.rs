//! Artifacts: every format from the same prepared base and the same deltas.

mod bmap;
mod compressed;
mod dependents;
pub(crate) mod in_use;
mod manifest;
mod ova;
mod packed;
mod prepared;
mod qcow2;
mod raw;
mod seekable;
mod side_file;
mod staging;
mod standalone;
mod vmdk;
mod vmwarevm;
mod xz;

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::config::{Cluster, Format, Qcow2};
use crate::disk::Delta;
use crate::disk::sha256_of_file;
use crate::util::error::{Context, Result};
use crate::util::parallel::parallel;
use crate::util::progress::Progress;
use crate::util::sha256::Sha256;
use crate::vmware;
use compressed::{Codec, Target};

pub use dependents::{outdated, unchanged};
pub use in_use::started;
pub use manifest::{ArtifactRecord, FileRecord, InputRecord, Manifest, NodeRecord, write_synced};
pub use prepared::PreparedBase;
pub use side_file::write_handouts;
pub use staging::Staging;
pub use standalone::{Alone, write_alone};

/// A node, as artifacts are made from it.
pub struct NodeDisk<'a> {
    /// Its host name.
    pub hostname: &'a str,
    /// How its disk differs from the prepared base.
    pub delta: &'a Delta,
}

/// One artifact, made but not yet published.
#[derive(Debug)]
pub struct Artifact {
    /// The file's or bundle's name in the output folder.
    pub name: String,
    /// The node it belongs to; none for what nodes share.
    pub node: Option<String>,
    /// Bytes that it occupies, holes not counted.
    pub occupied: u64,
    /// How long it took to make, checksum included.
    pub elapsed: Duration,
    /// Its files.
    pub files: Vec<ArtifactRecord>,
}

/// Everything that artifacts are made from.
pub struct Emission<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// What all nodes share.
    pub prepared: &'a PreparedBase,
    /// What a machine cloned by hand starts from.
    pub template: &'a Delta,
    /// The nodes, in the order of the cluster file.
    pub nodes: &'a [NodeDisk<'a>],
    /// What is made of each.
    pub formats: &'a [Format],
    /// Whether what the nodes share is made as well.
    pub shared: bool,
}

/// One artifact still to be made.
enum Task<'a> {
    Raw(&'a NodeDisk<'a>),
    Bmap(&'a NodeDisk<'a>),
    Qcow2Base,
    Qcow2(&'a NodeDisk<'a>),
    Qcow2Whole(&'a NodeDisk<'a>),
    Vmdk(&'a NodeDisk<'a>),
    Template,
    Clone(&'a NodeDisk<'a>, String),
    Ova,
}

impl Emission<'_> {
    /// Makes every artifact in the staging folder, `jobs` at a time.
    pub fn run(
        &self,
        staging: &Staging,
        jobs: usize,
        progress: &dyn Progress,
    ) -> Result<Vec<Artifact>> {
        let codecs: Vec<_> = self.formats.iter().copied().filter_map(codec).collect();
        let is_ova = |task: &Task<'_>| matches!(task, Task::Ova);
        let (ova, rest): (Vec<_>, Vec<_>) = self.tasks().into_iter().partition(is_ova);
        let total = (codecs.len() * self.nodes.len() + ova.len() + rest.len()) as u64;
        let done = AtomicU64::new(0);
        let advance = |by: usize| {
            let by = by as u64;
            progress.position(done.fetch_add(by, Ordering::Relaxed) + by, total);
        };
        let make = |task: &Task<'_>| {
            let artifact = self.make(task, staging)?;
            advance(1);
            Ok(artifact)
        };
        advance(0);
        // What is compressed takes all processors by itself, and memory on each.
        let mut artifacts = Vec::new();
        for codec in codecs {
            artifacts.extend(self.compress(codec, staging, jobs)?);
            advance(self.nodes.len());
        }
        artifacts.extend(parallel(1, &ova, make)?);
        artifacts.extend(parallel(jobs, &rest, make)?);
        Ok(artifacts)
    }

    /// All nodes' raw images at once, packed.
    fn compress(&self, codec: Codec, staging: &Staging, jobs: usize) -> Result<Vec<Artifact>> {
        let started = Instant::now();
        let name = |node: &NodeDisk<'_>| format!("{}.img.{}", node.hostname, codec.extension());
        let make = || {
            let targets = self.nodes.iter().map(|node| {
                let path = staging.path(&name(node));
                let file = File::options().read(true).write(true).create_new(true).open(path)?;
                Ok(Target { file: Arc::new(file), delta: node.delta })
            });
            let targets = targets.collect::<Result<Vec<_>>>()?;
            compressed::write(codec, &*self.prepared.disk, &targets, &self.prepared.shelf)
        };
        make().context(|| format!("packing with {}", codec.extension()))?;
        let mut artifacts = parallel(jobs, self.nodes, |node| {
            let name = name(node);
            let node = Some(node.hostname.to_owned());
            let mut artifact = Artifact { node, ..Artifact::shared(&name) };
            let path = staging.path(&name);
            make_private(&path)?;
            artifact.record_files(&path, None)?;
            Ok(artifact)
        })?;
        // What they share cannot be told apart: to each its share of the time.
        let share = started.elapsed() / u32::try_from(artifacts.len().max(1)).unwrap_or(u32::MAX);
        for artifact in &mut artifacts {
            artifact.elapsed = share;
        }
        Ok(artifacts)
    }

    fn tasks(&self) -> Vec<Task<'_>> {
        let mut tasks = Vec::new();
        for format in self.formats {
            let nodes = self.nodes.iter();
            match format {
                Format::Raw => tasks.extend(nodes.map(Task::Raw)),
                Format::RawXz | Format::RawZst => {}
                Format::Qcow2 if self.cluster.output.qcow2 == Qcow2::Standalone => {
                    tasks.extend(nodes.map(Task::Qcow2Whole));
                }
                Format::Qcow2 => {
                    tasks.extend(self.shared.then_some(Task::Qcow2Base));
                    tasks.extend(nodes.map(Task::Qcow2));
                }
                Format::Vmdk => tasks.extend(nodes.map(Task::Vmdk)),
                Format::Vmwarevm => {
                    tasks.extend(self.shared.then_some(Task::Template));
                    // Over all nodes of the cluster file, whichever are built: a node keeps its own.
                    let all = self.cluster.nodes.iter().map(|it| it.hostname.as_str());
                    let macs = vmware::mac_addresses(&self.cluster.name, all.clone());
                    for (hostname, mac) in all.zip(macs) {
                        let node = self.nodes.iter().find(|it| it.hostname == hostname);
                        tasks.extend(node.map(|node| Task::Clone(node, mac)));
                    }
                }
                Format::Ova => tasks.extend(self.shared.then_some(Task::Ova)),
            }
        }
        let is_raw = |it: &Format| *it == Format::Raw || codec(*it).is_some();
        if self.formats.iter().any(is_raw) {
            tasks.extend(self.nodes.iter().map(Task::Bmap));
        }
        // The longest first: short ones then fill the gaps at the end.
        tasks.sort_by_key(|task| match task {
            Task::Qcow2(_) | Task::Clone(..) => 1,
            _ => 0,
        });
        tasks
    }

    fn make(&self, task: &Task<'_>, staging: &Staging) -> Result<Artifact> {
        let started = Instant::now();
        let cluster = &self.cluster.name;
        let (name, node) = match task {
            Task::Raw(node) => (format!("{}.img", node.hostname), Some(node)),
            Task::Qcow2Base => (qcow2::base_name(cluster), None),
            Task::Bmap(node) => (format!("{}.bmap", node.hostname), Some(node)),
            Task::Qcow2(node) | Task::Qcow2Whole(node) => {
                (format!("{}.qcow2", node.hostname), Some(node))
            }
            Task::Vmdk(node) => (format!("{}.vmdk", node.hostname), Some(node)),
            Task::Template => (vmwarevm::template_name(cluster), None),
            Task::Clone(node, _) => (format!("{}.vmwarevm", node.hostname), Some(node)),
            Task::Ova => (format!("{cluster}.ova"), None),
        };
        let path = staging.path(&name);
        let make = || {
            match task {
                // Hashed already.
                Task::Raw(node) => return raw::write(&path, self.prepared, node.delta).map(Some),
                Task::Bmap(node) => bmap::write(&path, self.prepared, node.delta),
                Task::Qcow2Base => qcow2::write_base(&path, self.prepared),
                Task::Qcow2(node) => qcow2::write_node(&path, self.prepared, cluster, node.delta),
                Task::Qcow2Whole(node) => qcow2::write_standalone(&path, self.prepared, node.delta),
                Task::Vmdk(node) => vmdk::write(&path, self, node.delta),
                Task::Template => vmwarevm::write_template(&path, self),
                Task::Clone(node, mac) => vmwarevm::write_clone(&path, self, node, mac),
                Task::Ova => ova::write(&path, self),
            }
            .map(|()| None)
        };
        let sum = make().context(|| format!("making `{name}`"))?;
        if !matches!(task, Task::Qcow2Base) {
            make_private(&path).context(|| format!("making `{name}`"))?;
        }

        let node = node.map(|node| node.hostname.to_owned());
        let mut artifact = Artifact { node, ..Artifact::shared(&name) };
        artifact.record_files(&path, sum)?;
        artifact.elapsed = started.elapsed();
        Ok(artifact)
    }
}

/// What packs images of this format, if anything does.
fn codec(format: Format) -> Option<Codec> {
    match format {
        Format::RawXz => Some(Codec::Xz),
        Format::RawZst => Some(Codec::Zstd),
        _ => None,
    }
}

/// Nobody else may read a node's keys and tokens out of its image.
fn make_private(path: &Path) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            make_private(&entry?.path())?;
        }
    }
    let mode = fs::metadata(path)?.permissions().mode();
    fs::set_permissions(path, PermissionsExt::from_mode(mode & 0o700))?;
    Ok(())
}

impl Artifact {
    /// One of no single node, with nothing in it yet.
    fn shared(name: &str) -> Self {
        let name = name.to_owned();
        Self { name, node: None, occupied: 0, elapsed: Duration::ZERO, files: Vec::new() }
    }

    /// Hashes the artifact's file, unless its `sum` is known, or every file of its bundle.
    fn record_files(&mut self, path: &Path, sum: Option<Sha256>) -> Result<()> {
        let mut paths = vec![(self.name.clone(), path.to_owned())];
        if path.is_dir() {
            paths.clear();
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                let name = format!("{}/{}", self.name, entry.file_name().to_string_lossy());
                paths.push((name, entry.path()));
            }
            paths.sort();
        }
        for (name, path) in paths {
            let metadata = fs::metadata(&path)?;
            self.occupied += metadata.blocks() * 512;
            self.files.push(ArtifactRecord {
                path: name,
                node: self.node.clone(),
                size: metadata.len(),
                sha256: sum.map_or_else(|| sha256_of_file(&path), Ok)?,
            });
        }
        Ok(())
    }
}
