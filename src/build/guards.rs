//! What a build does not replace unless it is told to.

use std::collections::BTreeSet;
use std::path::Path;

use crate::artifact::{Manifest, OwnFiles, in_use};
use crate::config::Cluster;
use crate::plan::SideFile;
use crate::util::error::{Error, Result};

/// Of one folder there is one manifest, and clusters may have nodes of the same names.
pub(super) fn refuse_another(cluster: &str, output: &Path) -> Result<()> {
    match Manifest::read(output).map(|it| it.cluster).filter(|other| other != cluster) {
        Some(other) => {
            let output = output.display();
            Err(Error::input(format!("`{output}` holds the artifacts of the cluster `{other}`"))
                .hint("choose another folder with `-o`")
                .hint(format!("`--replace` gives it to `{cluster}`")))
        }
        None => Ok(()),
    }
}

/// A build fills a folder of its own; what others left there stays.
pub(super) fn refuse_foreign<'a>(
    cluster: &Cluster,
    names: impl IntoIterator<Item = &'a str>,
    side_files: &[SideFile],
    output: &Path,
) -> Result<()> {
    let folders: BTreeSet<&str> = side_files.iter().map(SideFile::top).collect();
    let own = OwnFiles::of(&cluster.name, output);
    own.refuse_foreign(&cluster.name, output, names, &folders)
}

/// Machines that were started have data that nothing else has.
pub(super) fn refuse_started(
    cluster: &str,
    names: impl IntoIterator<Item = String>,
    output: &Path,
) -> Result<()> {
    let lost = in_use(cluster, names, output);
    if lost.is_empty() {
        return Ok(());
    }
    let (were, disks) = if lost.len() == 1 { ("was", "its disk") } else { ("were", "their disks") };
    let names: Vec<_> = lost.iter().map(|name| format!("`{name}`")).collect();
    let names = names.join(", ");
    Err(Error::input(format!("{names} {were} started since the last build: {disks} would be lost"))
        .hint("name the nodes that are to be built, or choose another folder with `-o`")
        .hint("`--replace` throws away what is on them"))
}
