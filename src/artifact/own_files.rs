//! Whose the files in an output folder are: a build replaces nothing that no build of its cluster made.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::claims::claimed;
use super::manifest::Manifest;
use crate::util::error::{Context as _, Error, Result};

/// The beginning of a sentence about files of an output folder: `out/a.img` and 2 other files were.
fn subject(output: &Path, files: &[String]) -> Option<String> {
    let first = format!("`{}`", output.join(files.first()?).display());
    Some(match files.len() - 1 {
        0 => format!("{first} was"),
        1 => format!("{first} and another file were"),
        more => format!("{first} and {more} other files were"),
    })
}

/// Refuses to lose what somebody changed in files that builds made: nothing else may have it.
pub fn refuse_edited(output: &Path, edited: &[String]) -> Result<()> {
    let Some(were) = subject(output, edited) else { return Ok(()) };
    Err(Error::input(format!("{were} changed since the last build, and would be lost"))
        .hint("move it away, or choose another folder with `-o`")
        .hint("remove it to have it built again; `--replace` replaces it"))
}

/// Files of an output folder that builds of one cluster made, by their paths in it.
pub struct OwnFiles {
    /// Of builds that listed all they left.
    paths: BTreeSet<String>,
    /// Whether a build before that left what it did not list.
    is_partial: bool,
}

impl OwnFiles {
    /// What the manifest lists, and what a killed build was publishing.
    pub fn of(cluster: &str, output: &Path) -> Self {
        let mut paths = claimed(output);
        let mut is_partial = false;
        if let Some(manifest) = Manifest::previous(output, cluster) {
            paths.extend([Manifest::NAME, Manifest::SUMS].map(str::to_owned));
            paths.extend(manifest.artifacts.into_iter().map(|it| it.path));
            match manifest.unlisted {
                Some(unlisted) => paths.extend(unlisted),
                None => is_partial = true,
            }
        }
        Self { paths, is_partial }
    }

    /// Fails when one of `names`, or a file in a folder of that name among `folders`, is somebody
    /// else's. Links are not followed: a link is a file of its own.
    pub fn refuse_foreign<'a>(
        &self,
        cluster: &str,
        output: &Path,
        names: impl IntoIterator<Item = &'a str>,
        folders: &BTreeSet<&str>,
    ) -> Result<()> {
        let mut foreign = Vec::new();
        for name in names {
            let Ok(found) = fs::symlink_metadata(output.join(name)) else { continue };
            if self.is_partial {
                continue;
            }
            if found.is_dir() && folders.contains(name) {
                self.foreign_in(output, name, &mut foreign)?;
            } else if !self.has(name) {
                foreign.push(name.to_owned());
            }
        }
        let Some(were) = subject(output, &foreign) else { return Ok(()) };
        Err(Error::input(format!(
            "{were} not made by a build of the cluster `{cluster}`, and would be replaced"
        ))
        .hint("move it away, or choose another folder with `-o`")
        .hint("`--replace` replaces it"))
    }

    /// Whether a file is listed, or all that is listed of a folder is why it is there.
    fn has(&self, name: &str) -> bool {
        let within = format!("{name}/");
        self.paths.contains(name) || self.paths.iter().any(|path| path.starts_with(&within))
    }

    /// Files of a folder that builds make whole which none of them made.
    fn foreign_in(&self, output: &Path, folder: &str, foreign: &mut Vec<String>) -> Result<()> {
        let path = output.join(folder);
        for entry in fs::read_dir(&path).context(|| format!("cannot list `{}`", path.display()))? {
            let entry = entry?;
            let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                self.foreign_in(output, &name, foreign)?;
            } else if !self.paths.contains(&name) {
                foreign.push(name);
            }
        }
        Ok(())
    }
}
