//! What stands anywhere on a disk, free space included.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use super::{temporary_folder, tool};

/// Those of the texts, each of one line, that are somewhere in the raw bytes of `image`.
pub(crate) fn found_in<'a>(
    image: &Path,
    texts: impl IntoIterator<Item = &'a str>,
) -> BTreeSet<String> {
    let folder = temporary_folder();
    let list = folder.path().join("texts");
    let texts: Vec<_> = texts.into_iter().collect();
    fs::write(&list, texts.join("\n") + "\n").expect("written");
    assert!(image.is_file(), "{}", image.display());
    // To grep a hole of gigabytes is one line, which it keeps in memory. 1 is that it found nothing.
    let script = "tr '\\0' '\\n' <\"$0\" | { grep -aoFf \"$1\" || [ $? = 1 ]; }";
    let found =
        tool("sh", [OsStr::new("-c"), OsStr::new(script), image.as_os_str(), list.as_os_str()]);
    found.lines().map(str::to_owned).collect()
}
