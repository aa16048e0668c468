use std::ffi::OsStr;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use sha2::{Digest as _, Sha256};

/// Runs a program, wants it to succeed, and returns its stdout.
#[track_caller]
pub(crate) fn tool<S: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = S>,
) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    // Debian keeps the tools for disks out of an ordinary user's PATH.
    command.args(arguments).env("PATH", format!("{path}:/usr/sbin:/sbin")).env("LC_ALL", "C");
    let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{stdout}\n{stderr}", output.status);
    stdout
}

/// Number and bytes of every partition, as sfdisk sees them.
pub(crate) fn partitions(image: &Path) -> Vec<(u32, Range<u64>)> {
    let json = tool("sfdisk", [OsStr::new("--json"), image.as_os_str()]);
    let table: serde_json::Value = serde_json::from_str(&json).expect("sfdisk writes JSON");
    let table = &table["partitiontable"];
    let sector = table["sectorsize"].as_u64().unwrap_or(512);
    let number = |node: &str| {
        let digits = node.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        digits.parse().expect("a partition has a number")
    };
    table["partitions"]
        .as_array()
        .expect("partitions")
        .iter()
        .map(|partition| {
            let start = partition["start"].as_u64().expect("a start") * sector;
            let size = partition["size"].as_u64().expect("a size") * sector;
            (number(partition["node"].as_str().expect("a node")), start..start + size)
        })
        .collect()
}

/// The names of files in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// What tells what a test's cache was made with: sixteen hexadecimal digits.
pub(crate) fn short_hash(text: &str) -> String {
    let digest = Sha256::digest(text);
    let head = digest[..8].try_into().expect("a hash is longer");
    format!("{:016x}", u64::from_be_bytes(head))
}
