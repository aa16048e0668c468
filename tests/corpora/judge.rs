//! What other programs say of an image.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

/// Runs a program with a minute to answer.
pub(super) fn ask<S: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = S>,
) -> Output {
    let path = std::env::var("PATH").unwrap_or_default();
    Command::new("timeout")
        .args(["60", program])
        .args(arguments)
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env("LC_ALL", "C")
        .output()
        .expect("timeout starts")
}

/// What libblkid finds in it.
pub(super) struct Blkid(BTreeMap<String, String>);

impl Blkid {
    pub(super) fn of(image: &Path) -> Self {
        let said =
            ask("blkid", ["-p".as_ref(), "-o".as_ref(), "export".as_ref(), image.as_os_str()]);
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Self(pairs.map(|(key, value)| (key.to_owned(), value.replace('\\', ""))).collect())
    }

    pub(super) fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }
}

/// The program that checks what blkid found, and its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Clean,
    Damaged,
    /// Its journal was not replayed: nobody knows yet.
    Unclean,
    None,
}

impl Judgement {
    pub(super) fn of(image: &Path, blkid: &Blkid) -> Self {
        let name = image.to_string_lossy();
        let output = match blkid.get("TYPE") {
            "ext2" | "ext3" | "ext4" => ask("e2fsck", ["-fn".as_ref(), image.as_os_str()]),
            "vfat" => ask("fsck.fat", ["-n".as_ref(), image.as_os_str()]),
            _ if name.ends_with(".xz") => ask("xz", ["-tq".as_ref(), image.as_os_str()]),
            _ if name.ends_with(".zst") => ask("zstd", ["-tq".as_ref(), image.as_os_str()]),
            _ => return Self::None,
        };
        // The decoder that is installed may be older than what it should refuse.
        let is_bad = name.contains("decompression-errors");
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || is_bad {
            Self::Damaged
        } else if said.contains("skipping journal recovery") {
            Self::Unclean
        } else {
            Self::Clean
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Damaged => "damaged",
            Self::Unclean => "unclean",
            Self::None => "-",
        }
    }
}

/// Has e2fsprogs or mtools copy everything out of a file system; whether they could.
pub(super) fn copy_out(image: &Path, kind: &str, folder: &Path) -> bool {
    std::fs::create_dir(folder).expect("a folder");
    let output = if kind == "vfat" {
        let arguments = ["-s".as_ref(), "-n".as_ref(), "-i".as_ref(), image.as_os_str()];
        ask("mcopy", arguments.into_iter().chain(["::/".as_ref(), folder.as_os_str()]))
    } else {
        let request = format!("rdump / {}", folder.display());
        ask("debugfs", ["-R".as_ref(), request.as_ref(), image.as_os_str()])
    };
    output.status.success()
}
