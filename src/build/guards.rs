//! What a build does not replace unless it is told to.

use std::path::Path;

use crate::artifact::{Manifest, in_use};
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
