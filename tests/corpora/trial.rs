//! One image: what nodeforge says and does, and the rules that it must keep.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use super::judge::{Blkid, Judgement, ask, copy_out};

/// How many files of an image are compared byte by byte.
const COMPARED: usize = 20;

/// How nodeforge calls what blkid calls otherwise.
const NAMES: &[(&str, &str)] = &[
    ("FAT12", "vfat"),
    ("FAT16", "vfat"),
    ("FAT32", "vfat"),
    ("FAT", "vfat"),
    ("exFAT", "exfat"),
    ("NTFS", "ntfs"),
    ("Btrfs", "btrfs"),
    ("XFS", "xfs"),
    ("F2FS", "f2fs"),
    ("LVM", "LVM2_member"),
    ("LUKS encryption", "crypto_LUKS"),
    ("BitLocker encryption", "BitLocker"),
    ("software RAID", "linux_raid_member"),
    ("EROFS", "erofs"),
    ("ISO 9660", "iso9660"),
    ("HFS+", "hfsplus"),
    ("APFS", "apfs"),
    ("external ext4 journal", "jbd"),
];

pub(super) struct Trial {
    blkid: String,
    ours: String,
    /// Whether `ours` is what is in it, and not why that cannot be told.
    is_inspected: bool,
    judge: Judgement,
    read: String,
    edit: String,
    /// Rules that were broken.
    pub(super) broken: Vec<String>,
}

impl Trial {
    pub(super) fn of(original: &Path, folder: &Path) -> Self {
        let image = folder.join(original.file_name().expect("a name"));
        let copy = ["--sparse=always".as_ref(), original.as_os_str(), image.as_os_str()];
        assert!(ask("cp", copy).status.success());
        let blkid = Blkid::of(&image);
        let kind = blkid.get("TYPE").to_owned();
        let judge = Judgement::of(&image, &blkid);
        let mut trial = Self {
            blkid: [kind.as_str(), blkid.get("PTTYPE")].join("/"),
            ours: String::new(),
            is_inspected: false,
            judge,
            read: String::new(),
            edit: String::new(),
            broken: Vec::new(),
        };
        trial.inspect(&image, &blkid);
        trial.list(&image, &kind, folder);
        trial.edit(&image, &blkid, folder);
        if judge == Judgement::Clean {
            for said in [&trial.ours, &trial.read, &trial.edit] {
                if said.contains("damaged") || said.contains("corrupt") {
                    trial.broken.push(format!("its own checker finds nothing: {said}"));
                }
            }
        }
        trial
    }

    /// A line of the list: five columns, and why, in words that may change.
    pub(super) fn row(&self) -> String {
        let class = |said: &str, done: &str| {
            if said.starts_with(done) { done.to_owned() } else { "refused".to_owned() }
        };
        let ours = if self.is_inspected { self.ours.clone() } else { "refused".to_owned() };
        let (read, edit) = (class(&self.read, "read"), class(&self.edit, "edited"));
        let why = if self.edit == "edited" { "" } else { &self.edit };
        [&self.blkid, &ours, self.judge.name(), &read, &edit, why].join("\t")
    }

    /// Runs nodeforge; what it says goes wrong, in one line, or nothing.
    fn nodeforge(&mut self, arguments: &[&str], image: &Path) -> (Output, String) {
        let output = ask(env!("CARGO_BIN_EXE_nodeforge"), arguments);
        let code = output.status.code();
        if !matches!(code, Some(0..=2)) {
            self.broken.push(format!("{arguments:?} ended with {code:?}"));
        }
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let deepest = errors
            .lines()
            .rfind(|line| line.starts_with("error: ") || line.starts_with("  cause: "))
            .and_then(|line| line.split_once(": "))
            .map_or("", |it| it.1);
        let problem = deepest.replace(&image.display().to_string(), "IMAGE");
        (output, problem)
    }

    fn inspect(&mut self, image: &Path, blkid: &Blkid) {
        let name = image.display().to_string();
        let (output, problem) = self.nodeforge(&["inspect", "--json", &name], image);
        if !output.status.success() {
            self.ours = problem;
            return;
        }
        self.is_inspected = true;
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let parts = report["partitions"].as_array().expect("partitions");
        let kinds: Vec<_> = parts.iter().map(|part| text(&part["file_system"])).collect();
        self.ours = kinds.join(" ");
        if !report["partition_table"].is_null() {
            self.ours = format!("{}: {}", text(&report["partition_table"]["scheme"]), self.ours);
            self.compare_table(image, parts);
            return;
        }
        // What is in a container format, blkid does not see.
        let part = &parts[0];
        let ours = text(&part["file_system"]);
        let theirs = blkid.get("TYPE");
        let same = NAMES.iter().find(|it| it.0 == ours).map_or(ours.as_str(), |it| it.1);
        if text(&report["format"]) != "raw" || theirs.is_empty() {
            return;
        }
        if ours != "-" && same != theirs {
            self.broken.push(format!("blkid calls it {theirs}, not {ours}"));
        }
        if ["ext2", "ext3", "ext4", "vfat"].contains(&theirs) {
            for (key, tag) in [("label", "LABEL"), ("uuid", "UUID")] {
                let ours = part[key].as_str().unwrap_or_default();
                if ours != blkid.get(tag) {
                    let theirs = blkid.get(tag);
                    self.ours.push_str(&format!(", {key} `{ours}` for blkid's `{theirs}`"));
                }
            }
        }
    }

    /// The partitions must be where sfdisk sees them.
    fn compare_table(&mut self, image: &Path, parts: &[Value]) {
        let said = ask("sfdisk", ["--json".as_ref(), image.as_os_str()]);
        let Ok(table) = serde_json::from_slice::<Value>(&said.stdout) else {
            self.broken.push("sfdisk sees no partition table".to_owned());
            return;
        };
        let table = &table["partitiontable"];
        let sector = table["sectorsize"].as_u64().unwrap_or(512);
        let theirs: BTreeSet<_> = table["partitions"]
            .as_array()
            .into_iter()
            .flatten()
            // Extended partitions hold others.
            .filter(|it| !["5", "f", "85"].contains(&it["type"].as_str().unwrap_or_default()))
            .map(|it| {
                (it["start"].as_u64().map(|n| n * sector), it["size"].as_u64().map(|n| n * sector))
            })
            .collect();
        let ours: BTreeSet<_> =
            parts.iter().map(|it| (it["start"].as_u64(), it["size"].as_u64())).collect();
        if ours != theirs {
            self.broken.push(format!("partitions {ours:?} are {theirs:?} for sfdisk"));
        }
    }

    fn list(&mut self, image: &Path, kind: &str, folder: &Path) {
        let root = format!("{}:/", image.display());
        let (output, problem) = self.nodeforge(&["ls", "-R", "--json", &root], image);
        if !output.status.success() {
            self.read = problem;
            return;
        }
        self.read.push_str("read");
        if self.judge != Judgement::Clean {
            return;
        }
        let copied = folder.join("copied");
        if !copy_out(image, kind, &copied) {
            return;
        }
        let lines: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let lines = lines.as_array().expect("a list");
        let path = |line: &Value| PathBuf::from(line["path"].as_str().expect("a path"));
        // Programs that are not root's copy no devices, and mcopy no empty root.
        let of = |kinds: &[&str]| -> BTreeSet<PathBuf> {
            let wanted =
                lines.iter().filter(|it| kinds.contains(&it["type"].as_str().unwrap_or_default()));
            wanted.map(path).collect()
        };
        let (ours, theirs) = (of(&["file"]), files(&copied));
        if ours != theirs {
            let extra: Vec<_> = ours.symmetric_difference(&theirs).take(5).collect();
            self.broken.push(format!("files differ from what its own tools copy: {extra:?}"));
        }
        for path in ours.intersection(&theirs).take(COMPARED) {
            let place = format!("{}:/{}", image.display(), path.display());
            let (output, problem) = self.nodeforge(&["cat", &place], image);
            let same = fs::read(copied.join(path)).is_ok_and(|it| it == output.stdout);
            if !output.status.success() {
                self.read = format!("read, but /{}: {problem}", path.display());
            } else if !same {
                self.broken.push(format!("/{} reads otherwise", path.display()));
            }
        }
    }

    fn edit(&mut self, image: &Path, blkid: &Blkid, folder: &Path) {
        let file = folder.join("new-file");
        fs::write(&file, "written by nodeforge\n").expect("written");
        let place = format!("{}:/new-file", image.display());
        let before = fs::metadata(image).and_then(|it| it.modified()).expect("a time");
        let file = file.display().to_string();
        let (output, problem) = self.nodeforge(&["cp", "--fsck", "always", &file, &place], image);
        if !output.status.success() {
            self.edit = problem;
            if let Some(at) = self.edit.find("before any change: ") {
                self.edit.truncate(at + "before any change".len());
            }
            if self.edit.contains("finds the file system damaged: ") {
                self.broken.push(format!("an edit made it worse: {}", self.edit));
            }
            if fs::metadata(image).and_then(|it| it.modified()).expect("a time") != before {
                self.broken.push("it was changed by an edit that failed".to_owned());
            }
            return;
        }
        self.edit.push_str("edited");
        if self.judge != Judgement::Clean {
            self.broken.push("it was damaged, and was edited".to_owned());
        }
        if Judgement::of(image, blkid) != Judgement::Clean {
            self.broken.push("it is damaged since it was edited".to_owned());
        }
        let (output, _) = self.nodeforge(&["cat", &place], image);
        if output.stdout != b"written by nodeforge\n" {
            self.broken.push("what was written does not read back".to_owned());
        }
    }
}

/// The regular files below a folder.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("a folder") {
            let entry = entry.expect("an entry");
            let kind = entry.file_type().expect("a type");
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let path = entry.path();
                found.insert(path.strip_prefix(folder).expect("below it").to_owned());
            }
        }
    }
    found
}
