//! File systems that are full: which, how much is free, and how much is needed.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::Stand;
use crate::support::{Arch, Machines, compress, disk, noise, temporary_folder, tool};

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

/// Of a card in a file it is known beforehand.
#[test]
fn a_full_folder_for_a_card_is_named() {
    let machines = Machines::new(Arch::Amd64, &["server1"], "formats = [\"raw\"]");
    let _ = machines.run(["-q", "build"]).succeeds();
    let (small, cache) = (machines.path("small"), machines.path("cache"));
    let folder = small.parent().expect("a folder").to_owned();
    let variables = [("XDG_CACHE_HOME", &*cache)];
    let arguments = "flash --yes --to-file server1 small/card";
    let (code, left, said) = with_small(&folder, 4, &small, &variables, arguments);
    assert_eq!(code, Some(1), "{said}");
    let words = "error: the file system of `small` is full: 4.0 MiB are free, and ";
    let words = words.replace("`small`", &format!("`{}`", small.display()));
    assert!(said.contains(&words), "{said}");
    assert!(
        said.ends_with(" MiB are needed\nhint: make room, or choose another place\n"),
        "{said}"
    );
    assert_eq!(left, "");
}

/// The image has room for the file, and its folder has none for the change.
#[test]
fn a_full_folder_beside_an_image_is_named_and_nothing_changes() {
    let machines = Machines::new(Arch::Amd64, &["server1"], "formats = [\"raw\"]");
    let _ = machines.run(["-q", "build"]).succeeds();
    let (small, cache) = (machines.path("small"), machines.path("cache"));
    let folder = small.parent().expect("a folder").to_owned();
    fs::write(folder.join("noise"), noise(5, 24 << 20)).expect("written");
    let size = fs::metadata(machines.artifact("server1.img")).expect("there");
    let mib = std::os::unix::fs::MetadataExt::blocks(&size) / 2048 + 4;
    let program = env!("CARGO_BIN_EXE_nodeforge");
    let arguments = format!(
        "--version >/dev/null; cp --sparse=always out/server1.img small/a.img; \
         {program} cp noise small/a.img:/etc/noise; code=$?; \
         cmp out/server1.img small/a.img || code=9; rm small/a.img; (exit $code)"
    );
    let (code, left, said) =
        with_small(&folder, mib, &small, &[("XDG_CACHE_HOME", &*cache)], &arguments);
    assert_eq!(code, Some(1), "{said}");
    let words = format!("error: the file system of `{}` is full: ", small.display());
    assert!(said.starts_with(&words), "{said}");
    let hint = "hint: make room beside the image, where its changes are collected\n";
    assert!(said.ends_with(hint), "{said}");
    assert_eq!(left, "", "no journal stays");
}

/// What e2fsck is to read is more than is kept in memory.
#[test]
fn a_full_folder_for_what_e2fsck_reads_is_named() {
    let folder = temporary_folder();
    let path = |name: &str| folder.path().join(name);
    // A file system without holes: all of it is read.
    let script = "truncate -s 160M sparse.img && mkfs.ext4 -q sparse.img && \
                  cp --sparse=never sparse.img big.img && echo hello >hello";
    let mut command = Command::new("sh");
    command.args(["-ec", script]).current_dir(folder.path());
    assert!(command.status().expect("a shell starts").success());
    let small = path("small");
    let arguments = "cp --fsck always hello big.img:/hello";
    let (code, left, said) = with_small(folder.path(), 4, &small, &[("TMPDIR", &small)], arguments);
    assert_eq!(code, Some(1), "{said}");
    let words =
        format!("the file system of `{}` is full: 4.0 MiB are free, and 1", small.display());
    assert!(said.contains(&words), "{said}");
    assert!(
        said.ends_with(" MiB are needed\nhint: make room, or point TMPDIR elsewhere\n"),
        "{said}"
    );
    assert_eq!(left, "");
    tool("cmp", [path("sparse.img"), path("big.img")]);
}
