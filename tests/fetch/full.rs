//! File systems that are full: which, how much is free, and how much is needed.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::Stand;
use crate::support::{Arch, Machines, compress, disk, temporary_folder};

/// Runs nodeforge with these arguments and variables where a file system of so many MiB is at `small`.
fn with_small(
    folder: &Path,
    mib: u64,
    small: &Path,
    variables: &[(&str, &Path)],
    arguments: &str,
) -> (Option<i32>, String, String) {
    fs::create_dir_all(small).expect("a folder");
    let script = format!(
        "mount -t tmpfs -o size={mib}M none {small} && {program} {arguments}; code=$?; \
         find {small} -type f ! -name '*.lock' ! -name '*.json'; exit $code",
        small = small.display(),
        program = env!("CARGO_BIN_EXE_nodeforge"),
    );
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
    command.envs(variables.iter().copied()).current_dir(folder);
    let Output { status, stdout, stderr } = command.output().expect("unshare starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (status.code(), text(&stdout), text(&stderr))
}

#[test]
fn a_download_that_will_not_fit_is_not_begun() {
    let mut stand = Stand::new();
    stand.pinned_disk();
    let length = stand.server.body("/image").len();
    let _ = stand.run(["cache", "list"]).succeeds();
    let small = stand.path("small");
    let catalogue = stand.path("catalogue.toml");
    let variables = [("XDG_CACHE_HOME", &*small), ("NODEFORGE_CATALOGUE", &*catalogue)];
    let (code, left, said) = with_small(stand.folder.path(), 1, &small, &variables, "fetch it");
    assert_eq!(code, Some(1), "{said}");
    let needed = format!("{:.1}", length as f64 / f64::from(1 << 20));
    let words = format!("error: the file system of `{}` is full: ", small.display());
    assert!(said.contains(&words), "{said}");
    assert!(said.contains(&format!(" are free, and {needed} MiB are needed\n")), "{said}");
    assert!(said.contains("\nhint: make room, for example with `nodeforge cache prune`"), "{said}");
    assert_eq!(left, "");
}

#[test]
fn a_full_cache_is_named() {
    let mut stand = Stand::new();
    stand.pinned_disk();
    let _ = stand.run(["cache", "list"]).succeeds();
    let small = stand.path("small");
    let catalogue = stand.path("catalogue.toml");
    let variables = [("XDG_CACHE_HOME", &*small), ("NODEFORGE_CATALOGUE", &*catalogue)];
    let (code, _, said) = with_small(stand.folder.path(), 3, &small, &variables, "fetch it");
    assert_eq!(code, Some(1), "{said}");
    let words = format!("error: the file system of `{}` is full: 0.", small.display());
    assert!(said.contains(&words), "{said}");
    assert!(said.contains("  cause: No space left on device\n"), "{said}");
}

#[test]
fn a_full_folder_for_temporary_files_is_named() {
    let folder = temporary_folder();
    let image = compress("xz", &["-1"], &disk(folder.path(), 1));
    let small = folder.path().join("small");
    let arguments = format!("ls {}:/", image.display());
    let (code, _, said) = with_small(folder.path(), 1, &small, &[("TMPDIR", &small)], &arguments);
    assert_eq!(code, Some(1), "{said}");
    let words = format!("the file system of `{}` is full: 0.", small.display());
    assert!(said.contains(&words), "{said}");
    assert!(said.contains("hint: make room, or point TMPDIR elsewhere\n"), "{said}");
}

/// Of a raw image it is known beforehand, of a compressed one it is not.
#[test]
fn a_full_cache_and_a_full_output_folder_are_told_apart() {
    let machines = Machines::new(Arch::Amd64, &["server1"], "formats = [\"raw\"]");
    let (small, cache) = (machines.path("small"), machines.path("cache"));
    let folder = small.parent().expect("a folder").to_owned();
    // The cache is full, and not the image: a larger one would not help.
    let variables = [("XDG_CACHE_HOME", &*small)];
    let (code, _, said) = with_small(&folder, 4, &small, &variables, "prepare --sandbox none");
    assert_eq!(code, Some(1), "{said}");
    let words = format!("the file system of `{}` is full: ", small.display());
    assert!(said.contains(&words) && said.contains(" MiB are needed\n"), "{said}");
    assert!(said.contains("hint: make room, for example with `nodeforge cache prune`"), "{said}");
    assert!(!said.contains("[disk]"), "{said}");

    let _ = machines.run(["prepare", "--sandbox", "none"]).succeeds();
    let variables = [("XDG_CACHE_HOME", &*cache)];
    for (format, needed) in [("raw", " MiB are needed\n"), ("raw.zst", " MiB are free\n")] {
        let arguments = format!("build --sandbox none -o small --format {format}");
        let (code, left, said) = with_small(&folder, 4, &small, &variables, &arguments);
        assert_eq!(code, Some(1), "{said}");
        let words = format!("the file system of `{}` is full: ", small.display());
        assert!(said.contains(&words) && said.contains(needed), "{format}: {said}");
        assert!(said.contains("hint: make room, or choose another folder with `-o`\n"), "{said}");
        assert_eq!(left, "", "{format}");
    }
}
