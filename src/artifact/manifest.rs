//! `manifest.json` and `SHA256SUMS`: what was built, from what, and how to tell it is still that.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::claims::claimed;
use crate::cache::Package;
use crate::disk;
use crate::util::error::{Context, Result};
use crate::util::sha256::Sha256;

/// Everything that a build says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The tool and its version.
    pub generator: String,
    /// The cluster's name.
    pub cluster: String,
    /// The profile's name.
    pub profile: String,
    /// What went in.
    pub inputs: Vec<InputRecord>,
    /// The packages of the main prepared base, which nodes without packages of their own share; none where no
    /// node has it.
    pub packages: Vec<Package>,
    /// The prepared bases of nodes that have packages of their own.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub bases: Vec<BaseRecord>,
    /// The nodes in the order of the cluster file, then those that an earlier build left.
    pub nodes: Vec<NodeRecord>,
    /// The files that came out, sorted by path.
    pub artifacts: Vec<ArtifactRecord>,
    /// Paths of files that came out and whose hashes nobody may know, or that no checksum is needed of,
    /// sorted. Earlier versions did not list them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unlisted: Option<Vec<String>>,
}

/// The name of the main prepared base among what went in.
pub const PREPARED_BASE: &str = "prepared base";

/// Something that went into a build.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InputRecord {
    /// `base`, `prepared base`, `cluster file`.
    pub name: String,
    /// Where it came from, in words.
    pub origin: String,
    /// SHA-256 of its bytes.
    pub sha256: Sha256,
}

/// A prepared base of nodes that have packages of their own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BaseRecord {
    /// What the names of artifacts begin with that its nodes share: `rpi+lvm2`.
    pub name: String,
    /// What was asked for beside the packages of all nodes, sorted.
    pub own: Vec<String>,
    /// Its key in the cache.
    pub key: String,
    /// SHA-256 of its bytes.
    pub sha256: Sha256,
    /// All its packages.
    pub packages: Vec<Package>,
}

/// A node that was built.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its host name.
    pub hostname: String,
    /// Its role.
    pub role: String,
    /// The name of its prepared base, where that is not the main one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub base: Option<String>,
    /// Bytes in which its disk differs from the prepared base.
    pub delta_bytes: u64,
    /// Files that the stamp wrote, without those made from secrets.
    pub files: Vec<FileRecord>,
}

/// A file that the stamp wrote.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileRecord {
    /// Absolute path in the image.
    pub path: String,
    /// SHA-256 of its bytes.
    pub sha256: Sha256,
}

/// A file that came out.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArtifactRecord {
    /// From the output folder.
    pub path: String,
    /// The node it belongs to; none for what nodes share.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub node: Option<String>,
    /// Its length in bytes.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub sha256: Sha256,
    /// Of an artifact made from a disk, a keyed digest of everything it was made from
    /// ([`ArtifactFormat::inputs`](super::ArtifactFormat::inputs)): another digest now means that the
    /// artifact is stale.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub inputs: Option<String>,
}

/// The name of the artifact that a file of an output folder belongs to: its own, or its bundle's.
pub fn artifact_of(path: &str) -> &str {
    path.split_once('/').map_or(path, |(bundle, _)| bundle)
}

impl ArtifactRecord {
    /// Whether it is the artifact of that name, or a file of the bundle of that name.
    pub fn is_of(&self, artifact: &str) -> bool {
        artifact_of(&self.path) == artifact
    }

    /// Whether the other has the same place, node and bytes, whatever it was made from.
    pub(super) fn has_same_bytes(&self, other: &Self) -> bool {
        (&self.path, &self.node, self.size, &self.sha256)
            == (&other.path, &other.node, other.size, &other.sha256)
    }

    /// A small file that all nodes share.
    pub fn of_bytes(path: &str, bytes: &[u8]) -> Self {
        Self {
            path: path.to_owned(),
            node: None,
            size: bytes.len() as u64,
            sha256: Sha256::of(bytes),
            inputs: None,
        }
    }
}

impl Manifest {
    /// The file's name in the output folder.
    pub const NAME: &str = "manifest.json";
    /// The checksum file's name in the output folder.
    pub const SUMS: &str = "SHA256SUMS";

    /// What the last build of a cluster left in `output`.
    ///
    /// A manifest that cannot be read is an earlier version's: what it listed is built again.
    pub fn previous(output: &Path, cluster: &str) -> Option<Self> {
        Self::read(output).filter(|it| it.cluster == cluster)
    }

    /// [`Self::previous`], unless a build was killed while it published: what is there may be newer
    /// then.
    pub fn settled(output: &Path, cluster: &str) -> Option<Self> {
        Self::previous(output, cluster).filter(|_| output.join(Self::SUMS).is_file())
    }

    /// Takes over what an earlier build of other nodes left in `output` and is still there.
    pub fn merge_previous(&mut self, output: &Path) -> Result<()> {
        let listed = self.artifacts.iter().map(|it| &it.path);
        let built = listed.chain(self.unlisted.iter().flatten());
        let replaced: BTreeSet<_> = built.map(|path| artifact_of(path).to_owned()).collect();
        let is_left =
            |path: &String| !replaced.contains(artifact_of(path)) && output.join(path).exists();
        // What a killed build left and this one does not make is still the cluster's own.
        let mut unlisted: BTreeSet<String> = self.unlisted.take().into_iter().flatten().collect();
        unlisted.extend(claimed(output).into_iter().filter(is_left));
        let previous = Self::previous(output, &self.cluster);
        let before = previous.as_ref().and_then(|it| it.unlisted.clone()).unwrap_or_default();
        unlisted.extend(before.into_iter().filter(is_left));
        self.unlisted = Some(unlisted.into_iter().collect());
        let Some(mut previous) = previous else { return Ok(()) };
        // Without checksums, a build was killed while it published: how far it came is unknown.
        if !output.join(Self::SUMS).is_file() {
            previous.hash_again(output)?;
        }
        let mut left = previous.artifacts;
        left.retain(|it| is_left(&it.path) && output.join(&it.path).is_file());
        self.artifacts.extend(left);
        self.artifacts.sort();
        let known: BTreeSet<_> = self.nodes.iter().map(|it| it.hostname.clone()).collect();
        let artifacts = &self.artifacts;
        self.nodes.extend(previous.nodes.into_iter().filter(|node| {
            !known.contains(&node.hostname)
                && artifacts.iter().any(|it| it.node.as_deref() == Some(node.hostname.as_str()))
        }));
        self.merge_bases(previous.packages, previous.inputs, previous.bases);
        Ok(())
    }

    /// Takes over what is known of the prepared bases of other nodes.
    fn merge_bases(
        &mut self,
        packages: Vec<Package>,
        inputs: Vec<InputRecord>,
        bases: Vec<BaseRecord>,
    ) {
        let has_main = |inputs: &[InputRecord]| inputs.iter().any(|it| it.name == PREPARED_BASE);
        if !has_main(&self.inputs) && self.nodes.iter().any(|it| it.base.is_none()) {
            self.packages = packages;
            self.inputs.extend(inputs.into_iter().filter(|it| it.name == PREPARED_BASE));
        }
        let is_known = |base: &BaseRecord| self.bases.iter().any(|it| it.name == base.name);
        let is_used =
            |base: &BaseRecord| self.nodes.iter().any(|it| it.base.as_ref() == Some(&base.name));
        let left: Vec<_> = bases.into_iter().filter(|it| !is_known(it) && is_used(it)).collect();
        self.bases.extend(left);
        self.bases.sort_by(|one, other| one.name.cmp(&other.name));
    }

    /// Hashes the files that are there. Where a file is not as it was listed, what is known of its node
    /// and its inputs no longer holds.
    fn hash_again(&mut self, output: &Path) -> Result<()> {
        self.artifacts.retain(|it| output.join(&it.path).is_file());
        for artifact in &mut self.artifacts {
            let path = output.join(&artifact.path);
            let found = ArtifactRecord {
                size: fs::metadata(&path)?.len(),
                sha256: disk::sha256_of_file(&path)?,
                ..artifact.clone()
            };
            if found != *artifact {
                self.nodes.retain(|it| Some(&it.hostname) != artifact.node.as_ref());
                *artifact = ArtifactRecord { inputs: None, ..found };
            }
        }
        Ok(())
    }

    /// The manifest of an output folder; `None` where there is none that can be read.
    pub fn read(output: &Path) -> Option<Self> {
        let text = fs::read(output.join(Self::NAME)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Forgets artifacts, the nodes that have none left, and the bases of which there are no nodes left.
    pub fn forget(&mut self, artifacts: &[String]) {
        if artifacts.is_empty() {
            return;
        }
        let is_kept = |path: &str| artifacts.iter().all(|it| it != artifact_of(path));
        self.retain(|it| is_kept(&it.path));
        self.unlisted.iter_mut().for_each(|paths| paths.retain(|path| is_kept(path)));
        let nodes = &self.nodes;
        self.bases.retain(|base| nodes.iter().any(|it| it.base.as_ref() == Some(&base.name)));
    }

    /// Keeps only those artifacts, and the nodes that have some left.
    pub fn retain(&mut self, is_kept: impl Fn(&ArtifactRecord) -> bool) {
        self.artifacts.retain(is_kept);
        let artifacts = &self.artifacts;
        self.nodes.retain(|node| {
            artifacts.iter().any(|it| it.node.as_deref() == Some(node.hostname.as_str()))
        });
    }

    /// Whether `manifest.json` of a folder says this, and no build was killed while it published.
    pub fn is_in(&self, output: &Path) -> bool {
        let is_settled = output.join(Self::SUMS).is_file();
        is_settled
            && fs::read(output.join(Self::NAME)).is_ok_and(|it| it == self.to_json().as_bytes())
    }

    fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("a manifest is plain data");
        json.push('\n');
        json
    }

    /// Writes `manifest.json` and `SHA256SUMS` into a folder.
    pub fn write(&self, folder: &Path) -> Result<()> {
        write_synced(&folder.join(Self::NAME), self.to_json().as_bytes())?;
        // The format of sha256sum(1): two blanks, the second says "text".
        let mut sums = String::new();
        for artifact in &self.artifacts {
            writeln!(sums, "{}  {}", artifact.sha256, artifact.path).expect("writing to a string");
        }
        write_synced(&folder.join(Self::SUMS), sums.as_bytes())
    }
}

/// Writes a file and waits until it is on the disk.
pub fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().context(|| format!("cannot write `{}`", path.display()))
}
