//! Looking things up in the table of formats.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::format::FORMATS;
use super::format::definition::{ArtifactFormat, Reading};
use crate::config::{Cluster, FormatRule};

/// What cluster files may say of formats.
pub fn format_rules() -> &'static [FormatRule] {
    static RULES: LazyLock<Vec<FormatRule>> =
        LazyLock::new(|| FORMATS.iter().map(|it| it.rule()).collect());
    &RULES
}

/// The names of all formats, in the order of the documentation.
pub fn format_names() -> impl Iterator<Item = &'static str> + Clone {
    FORMATS.iter().map(|it| it.name)
}

/// The format of that name.
pub fn format_named(name: &str) -> Option<&'static ArtifactFormat> {
    FORMATS.iter().copied().find(|it| it.name == name)
}

/// The formats that a cluster file asks for.
pub fn chosen(cluster: &Cluster) -> Vec<&'static ArtifactFormat> {
    // Loaded by `format_rules`, it names no others.
    cluster.output.formats.iter().filter_map(|name| format_named(name)).collect()
}

/// The formats of nodes' artifacts that can be flashed, those first that are read fastest.
pub fn flashable() -> Vec<&'static ArtifactFormat> {
    readable(|it| it < Reading::Never)
}

/// The formats of nodes' artifacts that a machine can boot from, those first that are read fastest.
pub fn bootable() -> Vec<&'static ArtifactFormat> {
    readable(|it| matches!(it, Reading::Random(_)))
}

fn readable(is_wanted: impl Fn(Reading) -> bool) -> Vec<&'static ArtifactFormat> {
    let is_wanted = |it: &&ArtifactFormat| it.node.is_some() && is_wanted(it.reading);
    let mut formats: Vec<_> = FORMATS.iter().copied().filter(is_wanted).collect();
    formats.sort_by_key(|it| it.reading);
    formats
}

/// The file that holds an image's disk: a bundle's, or the image itself.
pub fn disk_of(image: &Path) -> PathBuf {
    if !image.is_dir() {
        return image.to_owned();
    }
    let name = image.file_name().unwrap_or_default().to_string_lossy();
    let bundles = || FORMATS.iter().filter(|it| it.disk_in_bundle.is_some());
    // A bundle may have been renamed.
    let format = bundles().find(|it| it.is_named(&name)).or_else(|| bundles().next());
    match format.and_then(|it| it.disk_in_bundle) {
        Some(disk) => image.join(disk),
        None => image.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_orders_follow_from_the_table() {
        let names = |formats: Vec<&ArtifactFormat>| -> Vec<_> {
            formats.iter().filter_map(|it| it.of_node("n")).collect()
        };
        assert_eq!(names(bootable()), ["n.img", "n.qcow2", "n.vmdk", "n.vmwarevm"]);
        assert_eq!(
            names(flashable()),
            ["n.img", "n.qcow2", "n.vmdk", "n.vmwarevm", "n.img.zst", "n.img.gz", "n.img.xz"]
        );
        let reserved: Vec<_> = format_rules().iter().filter_map(|it| it.reserved).collect();
        assert_eq!(reserved, ["-base", "-template"]);
        assert_eq!(format_names().next(), Some("raw"));
    }

    #[test]
    fn no_two_formats_share_a_name_or_an_ending() {
        for (at, one) in format_rules().iter().enumerate() {
            for other in &format_rules()[at + 1..] {
                assert_ne!(one.name, other.name);
                let own = one.endings.iter().filter(|it| **it != ".bmap");
                for ending in own {
                    assert!(!other.endings.contains(ending), "{ending}");
                }
            }
        }
    }
}
