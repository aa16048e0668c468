//! One artifact, made but not yet published.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use super::manifest::{ArtifactRecord, Manifest};
use crate::disk::sha256_of_file;
use crate::util::error::Result;
use crate::util::sha256::Sha256;

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
    /// Whether it was there already, as it would be made.
    pub is_kept: bool,
    /// Paths of its files that hold secrets, and of which therefore nothing is recorded.
    pub private: Vec<String>,
}

impl Artifact {
    /// One of no single node, with nothing in it yet.
    pub(super) fn shared(name: &str) -> Self {
        let name = name.to_owned();
        let (node, occupied, elapsed, is_kept) = (None, 0, Duration::ZERO, false);
        Self { name, node, occupied, elapsed, is_kept, files: Vec::new(), private: Vec::new() }
    }

    /// One that is in the output folder already, of files that are listed.
    pub fn kept(name: &str, output: &Path, previous: &Manifest) -> Result<Self> {
        let files = previous.artifacts.iter().filter(|it| it.is_of(name));
        let files: Vec<_> = files.cloned().collect();
        let mut artifact = Self { is_kept: true, ..Self::shared(name) };
        for file in &files {
            artifact.occupied += fs::metadata(output.join(&file.path))?.blocks() * 512;
            artifact.node.clone_from(&file.node);
        }
        Ok(Self { files, ..artifact })
    }

    /// Hashes the artifact's file, unless its `sum` is known, or every file of its bundle.
    pub(super) fn record_files(
        &mut self,
        path: &Path,
        sum: Option<Sha256>,
        inputs: &str,
    ) -> Result<()> {
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
                inputs: Some(inputs.to_owned()),
            });
        }
        Ok(())
    }
}

/// No other user may read a node's keys and tokens out of its image.
pub(super) fn make_private(path: &Path) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            make_private(&entry?.path())?;
        }
    }
    let mode = fs::metadata(path)?.permissions().mode();
    fs::set_permissions(path, PermissionsExt::from_mode(mode & 0o700))?;
    Ok(())
}
