//! NODE|IMAGE: an image by its path, or the artifact that a build made of a node.

use std::path::{Path, PathBuf};

use super::CLUSTER_FILE;
use crate::config;
use crate::util::error::{Error, Result};

/// The image at a path, if there is one; else the node's artifact in the output folder, by the
/// first of `endings` that is there.
pub(super) fn find(target: &str, output: Option<&Path>, endings: &[&str]) -> Result<PathBuf> {
    let path = Path::new(target);
    if path.exists() {
        return Ok(path.to_owned());
    }
    if target.contains('/') {
        return Err(Error::input(format!("there is no image `{target}`")));
    }
    let output = folder(output)?;
    endings
        .iter()
        .map(|ending| output.join(format!("{target}.{ending}")))
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
            Ok(config::load(Path::new(CLUSTER_FILE))?.output.directory)
        }
        None => Ok(PathBuf::from("out")),
    }
}

/// A bundle's disk, or the image itself.
pub(super) fn disk_of(image: &Path) -> PathBuf {
    if image.is_dir() { image.join("disk.vmdk") } else { image.to_owned() }
}
