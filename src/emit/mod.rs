//! Artifacts: every format from the same prepared base and the same deltas.

mod alone;
mod bmap;
mod compressed;
mod handout;
mod manifest;
mod ova;
mod ovf;
mod pool;
mod qcow2;
mod raw;
mod seekable;
mod staging;
mod vmdk;
mod vmware;
mod xz;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use alone::{Alone, write_alone};
pub use handout::write_handouts;
pub use manifest::{ArtifactRecord, FileRecord, InputRecord, Manifest, NodeRecord, write_synced};
pub use pool::parallel;
pub use staging::Staging;

use crate::config::{Arch, Cluster, Format, Qcow2};
use crate::digest::sha256_of_file;
use crate::disk::{Delta, Disk};
use crate::error::{Context, Result};
use crate::progress::Progress;

/// The prepared base, as artifacts are made from it.
pub struct PreparedBase {
    /// A raw image.
    pub path: PathBuf,
    /// The same, open.
    pub disk: Arc<dyn Disk>,
    /// SHA-256 of its bytes, 64 hexadecimal digits.
    pub sha256: String,
    /// What its programs run on.
    pub arch: Arch,
}

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
    Compressed(&'a NodeDisk<'a>, compressed::Codec),
    Bmap(&'a NodeDisk<'a>),
    Qcow2Base,
    Qcow2(&'a NodeDisk<'a>),
    Qcow2Whole(&'a NodeDisk<'a>),
    Vmdk(&'a NodeDisk<'a>),
    Template,
    Clone(&'a NodeDisk<'a>, String),
    Ova,
}

impl Task<'_> {
    fn is_packed(&self) -> bool {
        matches!(self, Self::Compressed(..) | Self::Ova)
    }
}

impl Emission<'_> {
    /// Makes every artifact in the staging folder, `jobs` at a time.
    pub fn run(
        &self,
        staging: &Staging,
        jobs: usize,
        progress: &dyn Progress,
    ) -> Result<Vec<Artifact>> {
        let tasks = self.tasks();
        let (packed, rest): (Vec<_>, Vec<_>) = tasks.into_iter().partition(Task::is_packed);
        let total = (packed.len() + rest.len()) as u64;
        let done = AtomicU64::new(0);
        progress.position(0, total);
        let make = |task: &Task<'_>| {
            let artifact = self.make(task, staging)?;
            progress.position(done.fetch_add(1, Ordering::Relaxed) + 1, total);
            Ok(artifact)
        };
        // What is compressed takes all processors by itself, and memory on each.
        let mut artifacts = parallel(1, &packed, make)?;
        artifacts.extend(parallel(jobs, &rest, make)?);
        Ok(artifacts)
    }

    fn tasks(&self) -> Vec<Task<'_>> {
        let mut tasks = Vec::new();
        for format in self.formats {
            let nodes = self.nodes.iter();
            match format {
                Format::Raw => tasks.extend(nodes.map(Task::Raw)),
                Format::RawXz => {
                    tasks.extend(nodes.map(|it| Task::Compressed(it, compressed::Codec::Xz)));
                }
                Format::RawZst => {
                    tasks.extend(nodes.map(|it| Task::Compressed(it, compressed::Codec::Zstd)));
                }
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
        let is_raw = |it: &Format| matches!(it, Format::Raw | Format::RawXz | Format::RawZst);
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
            Task::Compressed(node, codec) => {
                (format!("{}.img.{}", node.hostname, codec.extension()), Some(node))
            }
            Task::Qcow2Base => (qcow2::base_name(cluster), None),
            Task::Bmap(node) => (format!("{}.bmap", node.hostname), Some(node)),
            Task::Qcow2(node) | Task::Qcow2Whole(node) => {
                (format!("{}.qcow2", node.hostname), Some(node))
            }
            Task::Vmdk(node) => (format!("{}.vmdk", node.hostname), Some(node)),
            Task::Template => (vmware::template_name(cluster), None),
            Task::Clone(node, _) => (format!("{}.vmwarevm", node.hostname), Some(node)),
            Task::Ova => (format!("{cluster}.ova"), None),
        };
        let path = staging.path(&name);
        let make = || match task {
            Task::Raw(node) => raw::write(&path, self.prepared, node.delta),
            Task::Compressed(node, codec) => {
                compressed::write(&path, self.prepared, node.delta, *codec)
            }
            Task::Bmap(node) => bmap::write(&path, self.prepared, node.delta),
            Task::Qcow2Base => qcow2::write_base(&path, self.prepared),
            Task::Qcow2(node) => qcow2::write_node(&path, self.prepared, cluster, node.delta),
            Task::Qcow2Whole(node) => qcow2::write_standalone(&path, self.prepared, node.delta),
            Task::Vmdk(node) => vmdk::write(&path, self, node.delta),
            Task::Template => vmware::write_template(&path, self),
            Task::Clone(node, mac) => vmware::write_clone(&path, self, node, mac),
            Task::Ova => ova::write(&path, self),
        };
        make().context(|| format!("making `{name}`"))?;

        let node = node.map(|node| node.hostname.to_owned());
        let mut artifact = Artifact { node, ..Artifact::shared(&name) };
        artifact.record_files(&path)?;
        artifact.elapsed = started.elapsed();
        Ok(artifact)
    }
}

impl Artifact {
    /// One of no single node, with nothing in it yet.
    fn shared(name: &str) -> Self {
        let name = name.to_owned();
        Self { name, node: None, occupied: 0, elapsed: Duration::ZERO, files: Vec::new() }
    }

    /// Hashes the artifact's file, or every file of its bundle.
    fn record_files(&mut self, path: &Path) -> Result<()> {
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
                sha256: sha256_of_file(&path)?,
            });
        }
        Ok(())
    }
}
