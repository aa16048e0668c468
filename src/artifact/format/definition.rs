//! What a format is: everything that the rest of nodeforge needs to know of it. No field has a
//! default, so that the compiler asks a new format each of these questions.

use std::fmt;
use std::fs::File;
use std::path::Path;

use crate::artifact::batch::{Batch, NodeDisk};
use crate::artifact::codec::Codec;
use crate::artifact::inputs::DiskInputs;
use crate::config::{Cluster, FormatRule};
use crate::disk::Disk;
use crate::util::error::Result;
use crate::util::sha256::Sha256;

/// What the name of a block map ends in, after the host name.
pub(in crate::artifact) const BMAP: &str = ".bmap";

/// A format of artifact.
pub struct ArtifactFormat {
    /// What `[output] formats` and `--format` call it.
    pub name: &'static str,
    /// What the key of the same name in `[output]` may say, the default first; empty where there is no
    /// such key.
    pub(in crate::artifact) variants: &'static [&'static str],
    /// What is made of each node.
    pub(in crate::artifact) node: Option<NodeArtifact>,
    /// What is made once for the cluster.
    pub(in crate::artifact) shared: Option<SharedArtifact>,
    /// Where in an artifact that is a folder the disk is that its machine runs on; `None` for files.
    pub(in crate::artifact) disk_in_bundle: Option<&'static str>,
    /// How its disk is read.
    pub(in crate::artifact) reading: Reading,
    /// Whether machines run from where a build left it, so that a build must not replace it unasked.
    pub(in crate::artifact) runs_in_place: bool,
    /// Whether a block map lies beside it.
    pub(in crate::artifact) has_bmap: bool,
    /// How any disk becomes one file that needs no other.
    pub(in crate::artifact) whole: Option<WholeImage>,
    /// What of the cluster goes into an artifact besides its node's plan and the prepared base. Of
    /// the artifact that nodes share when no host name is given.
    pub(in crate::artifact) options: fn(&Cluster, Option<&str>) -> String,
}

/// One artifact for each node.
pub(in crate::artifact) struct NodeArtifact {
    /// What its name ends in, after the host name.
    pub(in crate::artifact) ending: &'static str,
    pub(in crate::artifact) writer: NodeWriter,
}

/// How nodes' artifacts are written.
pub(in crate::artifact) enum NodeWriter {
    /// Each on its own, several at once. Returns the file's SHA-256 where writing told it.
    Each(fn(&Path, &Batch<'_>, &NodeDisk<'_>) -> Result<Option<Sha256>>),
    /// All nodes' together, on all processors.
    Together(&'static dyn Codec),
}

/// One artifact for all nodes of a prepared base.
pub(in crate::artifact) struct SharedArtifact {
    /// What its name ends in, after the base's.
    pub(in crate::artifact) ending: &'static str,
    /// What the path of the file ends in, after the base's name, that nodes' artifacts read besides
    /// their own; `None` when they are whole.
    pub(in crate::artifact) parent: Option<&'static str>,
    /// The variant that has it; `None` when all have.
    pub(in crate::artifact) variant: Option<&'static str>,
    /// Whether it holds only the prepared base, which other users may read.
    pub(in crate::artifact) is_public: bool,
    /// Whether writing it keeps more than one processor busy, so that nothing else should run.
    pub(in crate::artifact) is_parallel: bool,
    pub(in crate::artifact) write: fn(&Path, &Batch<'_>) -> Result<()>,
}

/// Any disk as one file.
pub(in crate::artifact) struct WholeImage {
    /// What names of such files end in; the first is the usual one.
    pub(in crate::artifact) endings: &'static [&'static str],
    /// Writes the disk into an empty file that will have that name.
    pub(in crate::artifact) write: fn(&File, &str, &dyn Disk) -> Result<()>,
}

/// How a format's disk is read, from the best to the worst; within a kind, the least number first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::artifact) enum Reading {
    /// From any place: it can be flashed, and a machine can boot from it.
    Random(u8),
    /// From its beginning, unpacking all of it: it can be flashed.
    Forward(u8),
    /// Not by nodeforge.
    Never,
}

impl ArtifactFormat {
    /// The name of a node's artifact; `None` when nodes have none.
    pub fn of_node(&self, hostname: &str) -> Option<String> {
        self.node.as_ref().map(|it| format!("{hostname}{}", it.ending))
    }

    /// Whether it is made once for a cluster, and of no node.
    pub fn is_of_no_node(&self) -> bool {
        self.node.is_none()
    }

    /// A digest of everything that an artifact of this format is made from, as the manifest has it:
    /// the node's, or what all nodes share when no host name is given. 64 hexadecimal digits.
    ///
    /// `disk` is what its disk is made from: the node's, or the template's.
    pub fn inputs(&self, disk: &DiskInputs, cluster: &Cluster, hostname: Option<&str>) -> String {
        disk.with(&[
            self.name,
            self.variant(cluster).unwrap_or_default(),
            &cluster.name,
            hostname.unwrap_or_default(),
            &(self.options)(cluster, hostname),
        ])
    }

    /// What nodes of the prepared base of that name share in the variant that the cluster chose.
    pub(in crate::artifact) fn shared_by(
        &self,
        cluster: &Cluster,
        base_name: &str,
    ) -> Option<&SharedArtifact> {
        let is_main = base_name == cluster.name;
        self.shared_of(cluster).filter(|_| is_main || !self.is_of_no_node())
    }

    /// What nodes share in the variant that the cluster chose.
    pub(in crate::artifact) fn shared_of(&self, cluster: &Cluster) -> Option<&SharedArtifact> {
        let chosen = self.variant(cluster);
        self.shared.as_ref().filter(|it| it.variant.is_none() || it.variant == chosen)
    }

    /// The variant that the cluster chose; `None` for formats that have none.
    pub(in crate::artifact) fn variant(&self, cluster: &Cluster) -> Option<&'static str> {
        let chosen = cluster.output.variants.get(self.name).copied();
        chosen.or(self.variants.first().copied())
    }

    /// Whether an artifact of that name is of this format.
    pub(in crate::artifact) fn is_named(&self, name: &str) -> bool {
        self.endings().any(|ending| name.ends_with(ending))
    }

    /// What the names of its artifacts end in.
    fn endings(&self) -> impl Iterator<Item = &'static str> {
        let node = self.node.as_ref().map(|it| it.ending);
        node.into_iter().chain(self.shared.as_ref().map(|it| it.ending))
    }

    /// What a cluster file may say of it.
    pub(in crate::artifact) fn rule(&self) -> FormatRule {
        let node = self.node.as_ref().map_or("", |it| it.ending);
        let shared = self.shared.as_ref().and_then(|it| it.ending.strip_suffix(node));
        FormatRule {
            name: self.name,
            variants: self.variants,
            endings: self.endings().chain(self.has_bmap.then_some(BMAP)).collect(),
            // A node of that name would take the place of what all nodes share.
            reserved: shared.filter(|_| self.node.is_some()),
        }
    }
}

impl fmt::Debug for ArtifactFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArtifactFormat({})", self.name)
    }
}
