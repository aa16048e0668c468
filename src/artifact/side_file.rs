//! Files for people, beside the images.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::made::Artifact;
use super::manifest::{ArtifactRecord, write_synced};
use super::staging::Staging;
use crate::plan::SideFile;
use crate::util::error::{Context as _, Result};
use crate::util::sha256::Sha256;

fn write(handout: &SideFile, staging: &Staging) -> Result<PathBuf> {
    let path = staging.path(&handout.path);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).context(|| format!("cannot make `{}`", folder.display()))?;
    }
    // The staging folder itself is its owner's only, so that no one reads it before it has its mode.
    write_synced(&path, &handout.content.bytes)?;
    fs::set_permissions(&path, Permissions::from_mode(handout.mode()))
        .context(|| format!("cannot write `{}`", path.display()))?;
    Ok(path)
}

/// Whether a file or folder at the top of the output folder is what these side files make of it.
fn is_there(handouts: &[SideFile], top: &str, output: &Path) -> bool {
    let own = || handouts.iter().filter(|it| it.top() == top);
    let has = |it: &SideFile| {
        let path = output.join(&it.path);
        let found = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file);
        found.is_some_and(|found| found.mode() & 0o7777 == it.mode())
            && fs::read(&path).is_ok_and(|bytes| bytes == *it.content.bytes)
    };
    own().all(has) && count(&output.join(top)) == own().count()
}

/// Files of a tree.
fn count(path: &Path) -> usize {
    match fs::read_dir(path) {
        Ok(entries) => entries.flatten().map(|entry| count(&entry.path())).sum(),
        Err(_) => 1,
    }
}

/// Writes side files into the staging folder: one artifact for each file or folder at its top.
///
/// Those that hold secrets are for their owner's eyes only, and neither they nor their hashes are
/// in checksums or manifest. Those that are in the output folder already are kept, unless `makes_all`.
pub fn write_side_files(
    handouts: &[SideFile],
    staging: &Staging,
    makes_all: bool,
) -> Result<Vec<Artifact>> {
    let mut artifacts: Vec<Artifact> = Vec::new();
    for handout in handouts {
        let started = Instant::now();
        let top = handout.top();
        let index = artifacts.iter().position(|artifact| artifact.name == top);
        let index = index.unwrap_or_else(|| {
            let is_kept = !makes_all && is_there(handouts, top, staging.output());
            artifacts.push(Artifact { is_kept, ..Artifact::shared(top) });
            artifacts.len() - 1
        });
        let artifact = &mut artifacts[index];
        let path = if artifact.is_kept {
            staging.output().join(&handout.path)
        } else {
            write(handout, staging)?
        };
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
