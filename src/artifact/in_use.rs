//! Machines that were started from their artifacts: what is on their disks by now is nowhere else.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::manifest::Manifest;

/// Those of the artifacts called `names` in `output` that machines run from where they are, and that
/// are no longer as the last build left them: a disk that is written to grows, and VMware leaves files
/// beside it.
pub fn started(
    cluster: &str,
    names: impl IntoIterator<Item = String>,
    output: &Path,
) -> BTreeSet<String> {
    let Some(previous) = Manifest::settled(output, cluster) else { return BTreeSet::new() };
    let is_machine = |name: &String| [".qcow2", ".vmwarevm"].iter().any(|it| name.ends_with(it));
    let is_as_built = |path: &str| {
        let size = fs::metadata(output.join(path)).map(|it| it.len()).ok();
        size.is_none_or(|size| {
            previous.artifacts.iter().any(|it| it.path == path && it.size == size)
        })
    };
    let was_started = |name: &String| match fs::read_dir(output.join(name)) {
        Ok(files) => files
            .flatten()
            .any(|file| !is_as_built(&format!("{name}/{}", file.file_name().to_string_lossy()))),
        Err(_) => !is_as_built(name),
    };
    names.into_iter().filter(|name| is_machine(name) && was_started(name)).collect()
}
