//! Artifacts in use: machines run from them, and what is on their disks by now exists only there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::format::FORMATS;
use super::manifest::Manifest;

/// Those of the artifacts called `names` in `output` that machines run from where they are, and that
/// are no longer as the last build left them: a disk that is written to grows, and VMware leaves files
/// beside it.
pub fn in_use(
    cluster: &str,
    names: impl IntoIterator<Item = String>,
    output: &Path,
) -> BTreeSet<String> {
    let Some(previous) = Manifest::settled(output, cluster) else { return BTreeSet::new() };
    let is_machine = |name: &String| FORMATS.iter().any(|it| it.runs_in_place && it.is_named(name));
    let is_as_built = |path: &str| {
        let size = fs::metadata(output.join(path)).map(|it| it.len()).ok();
        size.is_none_or(|size| {
            previous.artifacts.iter().any(|it| it.path == path && it.size == size)
        })
    };
    let is_changed = |name: &String| match fs::read_dir(output.join(name)) {
        Ok(files) => files
            .flatten()
            .any(|file| !is_as_built(&format!("{name}/{}", file.file_name().to_string_lossy()))),
        Err(_) => !is_as_built(name),
    };
    names.into_iter().filter(|name| is_machine(name) && is_changed(name)).collect()
}
