//! Files for people, beside the images.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::Instant;

use super::made::Artifact;
use super::manifest::{ArtifactRecord, write_synced};
use super::staging::Staging;
use crate::plan::SideFile;
use crate::util::error::{Context as _, Result};
use crate::util::sha256::Sha256;

/// Writes side files into the staging folder: one artifact for each file or folder at its top.
///
/// Those that hold secrets are for their owner's eyes only, and neither they nor their hashes are
/// in checksums or manifest.
pub fn write_side_files(handouts: &[SideFile], staging: &Staging) -> Result<Vec<Artifact>> {
    let mut artifacts: Vec<Artifact> = Vec::new();
    for handout in handouts {
        let started = Instant::now();
        let path = staging.path(&handout.path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).context(|| format!("cannot make `{}`", folder.display()))?;
        }
        // The staging folder itself is its owner's only, so that no one reads it before it has its mode.
        write_synced(&path, &handout.content.bytes)?;
        fs::set_permissions(&path, Permissions::from_mode(handout.mode()))
            .context(|| format!("cannot write `{}`", path.display()))?;

        let top = handout.path.split('/').next().unwrap_or_default();
        let index = artifacts.iter().position(|artifact| artifact.name == top);
        let index = index.unwrap_or_else(|| {
            artifacts.push(Artifact::shared(top));
            artifacts.len() - 1
        });
        let artifact = &mut artifacts[index];
        artifact.occupied += fs::metadata(&path)?.blocks() * 512;
        artifact.elapsed += started.elapsed();
        if handout.content.secrets.is_empty() {
            artifact.files.push(ArtifactRecord {
                path: handout.path.clone(),
                node: None,
                size: handout.content.bytes.len() as u64,
                sha256: Sha256::of(&handout.content.bytes),
                inputs: None,
            });
        } else {
            artifact.private.push(handout.path.clone());
        }
    }
    Ok(artifacts)
}
