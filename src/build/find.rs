//! NODE|IMAGE: an image by its path, or the artifact that a build made of a node.

use std::path::{Path, PathBuf};

use crate::artifact::ArtifactFormat;
use crate::config::{self, Cluster};
use crate::util::error::{Error, Result};

/// The folder that builds leave their artifacts in.
pub struct OutputFolder {
    /// The folder.
    pub path: PathBuf,
}

impl OutputFolder {
    /// The folder named on the command line, else the cluster file's, else `out`. A link does not
    /// lead the cluster file's elsewhere.
    pub fn new(named: Option<&Path>, cluster: Option<&Cluster>) -> Result<Self> {
        let path = match (named, cluster.map(|it| &it.output)) {
            (Some(named), _) => named.to_owned(),
            (None, Some(output)) => {
                if let Some(folder) = &output.kept_in {
                    config::stays_below(folder, &output.directory)
                        .map_err(|error| error.hint("`-o` names a folder elsewhere"))?;
                }
                output.directory.clone()
            }
            (None, None) => PathBuf::from("out"),
        };
        Ok(Self { path })
    }

    /// The image at a path, if there is one; else the node's artifact in this folder, in the first of
    /// `formats` that is there.
    pub fn find(&self, target: &str, formats: &[&ArtifactFormat]) -> Result<PathBuf> {
        let path = Path::new(target);
        if path.exists() {
            return Ok(path.to_owned());
        }
        if target.contains('/') {
            return Err(Error::input(format!("`{target}` does not exist")));
        }
        formats
            .iter()
            .filter_map(|format| format.of_node(target))
            .map(|name| self.path.join(name))
            .find(|path| path.exists())
            .ok_or_else(|| {
                Error::input(format!("`{}` has no image of `{target}`", self.path.display()))
                    .hint("`nodeforge build` makes it; `-o` says where it is")
            })
    }
}
