//! NODE|IMAGE: an image by its path, or the artifact that a build made of a node.

use std::path::{Path, PathBuf};

use super::CLUSTER_FILE;
use crate::artifact::{ArtifactFormat, format_rules};
use crate::config;
use crate::util::error::{Error, Result};

/// The image at a path, if there is one; else the node's artifact in the output folder, in the first
/// of `formats` that is there.
pub(super) fn find(
    target: &str,
    output: Option<&Path>,
    formats: &[&ArtifactFormat],
) -> Result<PathBuf> {
    let path = Path::new(target);
    if path.exists() {
        return Ok(path.to_owned());
    }
    if target.contains('/') {
        return Err(Error::input(format!("there is no image `{target}`")));
    }
    let output = folder(output)?;
    formats
        .iter()
        .filter_map(|format| format.of_node(target))
        .map(|name| output.join(name))
        .find(|path| path.exists())
        .ok_or_else(|| {
            Error::input(format!("no image of `{target}` in `{}`", output.display()))
                .hint("`nodeforge build` makes it; `-o` says where it is")
        })
}

/// Where artifacts are: as said, or as the cluster file says, or `out`.
pub(super) fn folder(output: Option<&Path>) -> Result<PathBuf> {
    match output {
        Some(output) => Ok(output.to_owned()),
        None if Path::new(CLUSTER_FILE).exists() => {
            Ok(config::load(Path::new(CLUSTER_FILE), format_rules())?.output.directory)
        }
        None => Ok(PathBuf::from("out")),
    }
}
