use std::ffi::OsStr;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Runs a judge, wants it to be content, and gives its stdout.
#[track_caller]
pub(crate) fn tool<S: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = S>,
) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    // Debian keeps the judges of disks out of an ordinary user's way.
    command.args(arguments).env("PATH", format!("{path}:/usr/sbin:/sbin")).env("LC_ALL", "C");
    let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{stdout}\n{stderr}", output.status);
    stdout
}

/// A program of the judges that `PyPI` has, in an environment of their own in the user's cache.
pub(crate) fn python(program: &str) -> PathBuf {
    const PACKAGES: [&str; 3] = ["libvmdk-python==20260714", "pyzstd==0.20.0", "spdx-tools==0.8.5"];
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let home = PathBuf::from(std::env::var_os("HOME").expect("HOME is set"));
        let folder = home.join(".cache/nodeforge-tests/artifacts-venv");
        let (packages, list) = (PACKAGES.join("\n"), folder.join("packages"));
        if fs::read_to_string(&list).is_ok_and(|it| it == packages) {
            return folder;
        }
        tool(
            "python3",
            [OsStr::new("-m"), OsStr::new("venv"), OsStr::new("--clear"), folder.as_os_str()],
        );
        let pip = folder.join("bin/pip");
        tool(
            pip.to_str().expect("a plain name"),
            ["install", "--quiet"].into_iter().chain(PACKAGES),
        );
        // Written last: without it, the next run begins anew.
        fs::write(&list, packages).expect("written");
        folder
    });
    made.join("bin").join(program)
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
