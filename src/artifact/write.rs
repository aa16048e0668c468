//! Writing a batch of nodes in every format that is asked for.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::batch::{Batch, NodeDisk};
use super::codec::Codec;
use super::compressed::{self, PackTarget};
use super::format::definition::{ArtifactFormat, BMAP, NodeArtifact, NodeWriter, SharedArtifact};
use super::inputs::DiskInputs;
use super::made::{Artifact, make_private};
use super::staging::Staging;
use crate::artifact::bmap;
use crate::config::{Cluster, Node};
use crate::util::error::{Context as _, Result};
use crate::util::parallel::parallel;
use crate::util::progress::Progress;
use crate::util::sha256::Sha256;

/// Makes every artifact of a batch in the staging folder, `jobs` at a time.
pub fn write(
    batch: &Batch<'_>,
    formats: &[&'static ArtifactFormat],
    staging: &Staging,
    jobs: usize,
    progress: &dyn Progress,
) -> Result<Vec<Artifact>> {
    let packed: Vec<_> = formats.iter().copied().filter_map(packed).collect();
    let packed: Vec<_> = packed.iter().map(|it| (it, it.nodes(batch))).collect();
    let mut tasks = tasks(batch, formats);
    tasks.retain(|task| !batch.fresh.contains(&task.name(batch.base_name)));
    let (parallel_ones, rest): (Vec<_>, Vec<_>) = tasks.into_iter().partition(Task::is_parallel);
    let packed_ones: usize = packed.iter().map(|(_, nodes)| nodes.len()).sum();
    let total = (packed_ones + parallel_ones.len() + rest.len()) as u64;
    let done = AtomicU64::new(0);
    let advance = |by: usize| {
        let by = by as u64;
        progress.position(done.fetch_add(by, Ordering::Relaxed) + by, total);
    };
    let make = |task: &Task<'_>| {
        let artifact = task.make(batch, staging)?;
        advance(1);
        Ok(artifact)
    };
    advance(0);
    // What is compressed takes all processors by itself, and memory on each.
    let mut artifacts = Vec::new();
    for (packed, nodes) in packed.iter().filter(|(_, nodes)| !nodes.is_empty()) {
        artifacts.extend(packed.write(batch, nodes, staging, jobs)?);
        advance(nodes.len());
    }
    artifacts.extend(parallel(1, &parallel_ones, make)?);
    artifacts.extend(parallel(jobs, &rest, make)?);
    Ok(artifacts)
}

/// What [`write`] makes of these nodes of a prepared base, by its names in the output folder.
pub fn expected(
    cluster: &Cluster,
    formats: &[&'static ArtifactFormat],
    base_name: &str,
    nodes: &[&Node],
) -> Vec<String> {
    let mut names = shared_names(cluster, formats, base_name);
    names.extend(nodes.iter().flat_map(|it| names_of(formats, &it.hostname)));
    names
}

/// What is made for all nodes of a prepared base together.
pub fn shared_names(
    cluster: &Cluster,
    formats: &[&'static ArtifactFormat],
    base_name: &str,
) -> Vec<String> {
    let shared = |it: &&'static ArtifactFormat| it.shared_by(cluster, base_name);
    formats.iter().filter_map(shared).map(|it| shared_name(base_name, it)).collect()
}

/// What is made of one node.
pub fn names_of(formats: &[&'static ArtifactFormat], hostname: &str) -> Vec<String> {
    let mut names: Vec<_> = formats.iter().filter_map(|it| it.of_node(hostname)).collect();
    names.extend(formats.iter().any(|it| it.has_bmap).then(|| format!("{hostname}{BMAP}")));
    names
}

/// The same as [`expected`], with the digest of what each is made from.
pub fn digests(
    cluster: &Cluster,
    formats: &[&'static ArtifactFormat],
    base_name: &str,
    template: &DiskInputs,
    nodes: &[(&Node, DiskInputs)],
) -> Vec<(String, String)> {
    let mut digests = Vec::new();
    for format in formats {
        if let Some(shared) = format.shared_by(cluster, base_name) {
            digests.push((shared_name(base_name, shared), format.inputs(template, cluster, None)));
        }
        for (node, disk) in nodes {
            let hostname = &node.hostname;
            let digest = || format.inputs(disk, cluster, Some(hostname));
            digests.extend(format.of_node(hostname).map(|name| (name, digest())));
        }
    }
    if formats.iter().any(|it| it.has_bmap) {
        let bmap = |(node, disk): &(&Node, DiskInputs)| {
            (format!("{}{BMAP}", node.hostname), bmap_inputs(disk, &node.hostname))
        };
        digests.extend(nodes.iter().map(bmap));
    }
    digests
}

fn bmap_inputs(disk: &DiskInputs, hostname: &str) -> String {
    disk.with(&["bmap", hostname])
}

fn shared_name(base_name: &str, shared: &SharedArtifact) -> String {
    format!("{base_name}{}", shared.ending)
}

/// One artifact still to be made.
enum Task<'a> {
    Shared(&'static ArtifactFormat, &'static SharedArtifact),
    Node { format: &'static ArtifactFormat, write: Writer, node: &'a NodeDisk<'a> },
    Bmap(&'a NodeDisk<'a>),
}

/// Writes one node's artifact.
type Writer = fn(&Path, &Batch<'_>, &NodeDisk<'_>) -> Result<Option<Sha256>>;

fn tasks<'a>(batch: &'a Batch<'_>, formats: &[&'static ArtifactFormat]) -> Vec<Task<'a>> {
    let mut tasks = Vec::new();
    for format in formats.iter().copied() {
        let shared = format.shared_by(batch.cluster, batch.base_name);
        if let Some(shared) = shared.filter(|_| batch.makes_shared) {
            tasks.push(Task::Shared(format, shared));
        }
        if let Some(NodeArtifact { writer: NodeWriter::Each(write), .. }) = format.node {
            let node = |node| Task::Node { format, write, node };
            tasks.extend(batch.nodes.iter().map(node));
        }
    }
    if formats.iter().any(|it| it.has_bmap) {
        tasks.extend(batch.nodes.iter().map(Task::Bmap));
    }
    // The longest first: short ones then fill the gaps at the end. What has a parent holds a delta only.
    tasks.sort_by_key(|task| match task {
        Task::Node { format, .. } => {
            format.shared_of(batch.cluster).is_some_and(|it| it.parent.is_some())
        }
        Task::Shared(..) | Task::Bmap(_) => false,
    });
    tasks
}

impl Task<'_> {
    fn is_parallel(&self) -> bool {
        match self {
            Self::Shared(_, shared) => shared.is_parallel,
            Self::Node { .. } | Self::Bmap(_) => false,
        }
    }

    fn name(&self, base_name: &str) -> String {
        match self {
            Self::Shared(_, shared) => shared_name(base_name, shared),
            Self::Node { format, node, .. } => format.of_node(node.hostname).unwrap_or_default(),
            Self::Bmap(node) => format!("{}{BMAP}", node.hostname),
        }
    }

    fn make(&self, batch: &Batch<'_>, staging: &Staging) -> Result<Artifact> {
        let started = Instant::now();
        let name = self.name(batch.base_name);
        let path = staging.path(&name);
        let make = || -> Result<Option<Sha256>> {
            let sum = match self {
                Self::Shared(_, shared) => (shared.write)(&path, batch).map(|()| None),
                Self::Node { write, node, .. } => write(&path, batch, node),
                Self::Bmap(node) => bmap::write(&path, batch.prepared, node.delta).map(|()| None),
            }?;
            if !matches!(self, Self::Shared(_, shared) if shared.is_public) {
                make_private(&path)?;
            }
            Ok(sum)
        };
        let sum = make().context(|| format!("cannot make `{name}`"))?;

        let mut artifact = Artifact::shared(&name);
        let inputs = match self {
            Self::Shared(format, _) => format.inputs(batch.template.inputs, batch.cluster, None),
            Self::Node { format, node, .. } => {
                artifact.node = Some(node.hostname.to_owned());
                format.inputs(node.inputs, batch.cluster, Some(node.hostname))
            }
            Self::Bmap(node) => {
                artifact.node = Some(node.hostname.to_owned());
                bmap_inputs(node.inputs, node.hostname)
            }
        };
        artifact.record_files(&path, sum, &inputs)?;
        artifact.elapsed = started.elapsed();
        Ok(artifact)
    }
}

/// A format whose artifacts are packed for all nodes together.
struct PackedFormat {
    format: &'static ArtifactFormat,
    codec: &'static dyn Codec,
    ending: &'static str,
}

fn packed(format: &'static ArtifactFormat) -> Option<PackedFormat> {
    let NodeArtifact { ending, writer } = format.node.as_ref()?;
    match writer {
        NodeWriter::Together(codec) => Some(PackedFormat { format, codec: *codec, ending }),
        NodeWriter::Each(_) => None,
    }
}

impl PackedFormat {
    /// The nodes whose artifacts are to be made.
    fn nodes<'a>(&self, batch: &Batch<'a>) -> Vec<&'a NodeDisk<'a>> {
        let is_wanted = |it: &&NodeDisk<'_>| !batch.fresh.contains(&self.name(it));
        batch.nodes.iter().filter(is_wanted).collect()
    }

    fn name(&self, node: &NodeDisk<'_>) -> String {
        format!("{}{}", node.hostname, self.ending)
    }

    /// These nodes' raw images at once, packed.
    fn write(
        &self,
        batch: &Batch<'_>,
        nodes: &[&NodeDisk<'_>],
        staging: &Staging,
        jobs: usize,
    ) -> Result<Vec<Artifact>> {
        let started = Instant::now();
        let name = |node: &NodeDisk<'_>| self.name(node);
        let make = || {
            let targets = nodes.iter().map(|node| {
                let path = staging.path(&name(node));
                let file = File::options().read(true).write(true).create_new(true).open(path)?;
                Ok(PackTarget { file: Arc::new(file), delta: node.delta })
            });
            let targets = targets.collect::<Result<Vec<_>>>()?;
            let (disk, blocks) = (&*batch.prepared.disk, &batch.prepared.blocks);
            compressed::write(self.codec, disk, &targets, blocks)
        };
        make().context(|| format!("cannot pack with {}", self.codec.name()))?;
        let mut artifacts = parallel(jobs, nodes, |node| {
            let name = name(node);
            let inputs = self.format.inputs(node.inputs, batch.cluster, Some(node.hostname));
            let node = Some(node.hostname.to_owned());
            let mut artifact = Artifact { node, ..Artifact::shared(&name) };
            let path = staging.path(&name);
            make_private(&path)?;
            artifact.record_files(&path, None, &inputs)?;
            Ok(artifact)
        })?;
        // What they share cannot be told apart: to each its share of the time.
        let share = started.elapsed() / u32::try_from(artifacts.len().max(1)).unwrap_or(u32::MAX);
        for artifact in &mut artifacts {
            artifact.elapsed = share;
        }
        Ok(artifacts)
    }
}
