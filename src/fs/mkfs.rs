//! A fresh ext4 filled from a folder, in its place in a disk image.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::image_partition::ImagePartition;
use super::volume::Volume as _;
use crate::disk::{Raw, Slice};
use crate::fs;
use crate::util::error::{Context as _, Error, Result};
use crate::util::process::Tool;

/// Set while a journal waits to be replayed or orphans to be freed: a state, not a choice.
const STATES: [&str; 2] = ["needs_recovery", "orphan_present"];

/// What an ext4 is to be like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NewExt4 {
    /// Its UUID.
    pub uuid: String,
    /// Its label; empty for none.
    pub label: String,
    /// All its features, under e2fsprogs's names.
    pub features: Vec<String>,
    /// UUID that scatters its directories' hashes.
    pub hash_seed: Option<String>,
    /// Bytes.
    pub block_size: u64,
    /// Bytes.
    pub inode_size: u64,
    /// One inode for so many bytes.
    pub bytes_per_inode: u64,
    /// Percent of the blocks that only root may use.
    pub reserved_percent: f64,
}

impl NewExt4 {
    /// What the ext4 at an offset of a disk image is like.
    pub(crate) fn read(disk: &Path, offset: u64) -> Result<Self> {
        let image = format!("{}?offset={offset}", disk.display());
        // Not dumpe2fs: since e2fsprogs 1.47.1 it takes what follows a `?` for a label to look up.
        let text = Tool::new("tune2fs", "e2fsprogs").args(["-l", &image]).run()?;
        Self::parse(&text).ok_or_else(|| {
            Error::failure("`tune2fs` did not say what the root file system is like")
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let fields: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key.trim(), value.trim()))
            .collect();
        let number = |key: &str| fields.get(key)?.parse::<u64>().ok().filter(|&number| number > 0);
        let blocks = number("Block count")?;
        let block_size = number("Block size")?;
        let reserved = fields.get("Reserved block count")?.parse::<u32>().ok()?;
        // Counts of blocks are rounded down; a finer share than hundredths is not needed.
        let share = f64::from(reserved) * 100.0 / f64::from(u32::try_from(blocks).ok()?);
        let reserved_percent = (share * 100.0).round() / 100.0;
        Some(Self {
            uuid: (*fields.get("Filesystem UUID")?).to_owned(),
            label: fields
                .get("Filesystem volume name")
                .filter(|&&label| label != "<none>")
                .map_or(String::new(), |label| (*label).to_owned()),
            features: fields
                .get("Filesystem features")?
                .split_whitespace()
                .filter(|feature| !STATES.contains(feature))
                .map(str::to_owned)
                .collect(),
            hash_seed: fields.get("Directory Hash Seed").map(|seed| (*seed).to_owned()),
            block_size,
            inode_size: number("Inode size")?,
            bytes_per_inode: (blocks.checked_mul(block_size)? / number("Inode count")?).max(1024),
            reserved_percent,
        })
    }

    /// Makes it in its place, filled with all that is in `root`, owners and links included.
    /// The place must read as zeros. Nothing in it is dated later than `clock`, in seconds since
    /// 1970: the same folder and clock give the same bits.
    pub(crate) fn make(&self, place: &ImagePartition, root: &Path, clock: i64) -> Result<()> {
        // nodiscard: the image is sparse already, and its other partitions are none of mke2fs's.
        let mut extended = format!("offset={},nodiscard,root_owner=0:0", place.offset);
        extended.push_str(",lazy_itable_init=0,lazy_journal_init=0");
        if let Some(seed) = &self.hash_seed {
            write!(extended, ",hash_seed={seed}").expect("writing to a string");
        }
        let blocks = place.size / self.block_size;
        Tool::new("mke2fs", "e2fsprogs")
            .env("E2FSPROGS_FAKE_TIME", clock.to_string())
            .args(["-q", "-F", "-t", "ext4", "-M", "/", "-U", &self.uuid, "-L", &self.label])
            .args(["-O", &format!("none,{}", self.features.join(","))])
            .args(["-b", &self.block_size.to_string(), "-I", &self.inode_size.to_string()])
            .args(["-i", &self.bytes_per_inode.to_string()])
            .args(["-m", &self.reserved_percent.to_string()])
            .args(["-E", &extended])
            .arg("-d")
            .arg(root)
            .arg(&place.disk)
            .arg(blocks.to_string())
            .run()
            .map_err(|error| explain(error, place.size))?;
        let disk = Arc::new(Raw::open_writable(&place.disk)?);
        let partition = Slice::new(disk, place.offset..place.offset + place.size)?;
        let mut made = fs::Ext4::open(Arc::new(partition), clock)?;
        made.date_files().and_then(|()| made.flush()).context(|| "dating files")
    }
}

/// `mke2fs -d` on a disk that is too small says what it could not do, not why.
fn explain(error: Error, size: u64) -> Error {
    let text = error.to_string();
    let full = ["Could not allocate", "No space left", "No free space", "too small"];
    if full.iter().any(|words| text.contains(words)) {
        return error
            .context(format!(
                "the files do not fit into the root file system of {} MiB",
                size >> 20
            ))
            .hint("raise `size` in [disk]");
    }
    error.context("making the root file system")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::disk::Disk;
    use crate::fs::testing::{CLOCK, sample_tree};

    fn wanted() -> NewExt4 {
        NewExt4 {
            uuid: "3e3a8f0c-58f4-4a6c-9f0e-6f6a3f0f9a11".into(),
            label: "root".into(),
            features: "has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg \
                       sparse_super large_file huge_file dir_nlink extra_isize metadata_csum"
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            hash_seed: Some("0c1d2e3f-0000-4000-8000-000000000001".into()),
            block_size: 4096,
            inode_size: 256,
            bytes_per_inode: 16384,
            reserved_percent: 5.0,
        }
    }

    /// mke2fs writes it, tune2fs describes it, e2fsck judges it; the disk around it stays zero.
    #[test]
    fn what_is_made_is_what_was_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("hello"), "world").unwrap();
        let disk = folder.path().join("disk.img");
        let (offset, size) = (3 << 20, 64 << 20);
        let image = Raw::create(&disk, 70 << 20).unwrap();
        wanted().make(&ImagePartition { disk: disk.clone(), offset, size }, &root, CLOCK).unwrap();

        assert_eq!(NewExt4::read(&disk, offset).unwrap(), wanted());
        let target = format!("{}?offset={offset}", disk.display());
        Tool::new("e2fsck", "e2fsprogs").args(["-fn", &target]).run().unwrap();
        let cat = Tool::new("debugfs", "e2fsprogs").args(["-R", "cat /hello", &target]).run();
        assert_eq!(cat.unwrap(), "world");
        assert_eq!(image.size(), std::fs::metadata(&disk).unwrap().len());
        let mut around = vec![1; 3 << 20];
        image.read_at(&mut around, 0).unwrap();
        assert!(around.iter().all(|&byte| byte == 0));
        let mut around = vec![1; 3 << 20];
        image.read_at(&mut around, offset + size).unwrap();
        assert!(around.iter().all(|&byte| byte == 0));
    }

    /// debugfs tells the times.
    #[test]
    fn the_same_folder_at_another_time_gives_the_same_bits() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let root = folder.path().join(name);
            sample_tree(&root);
            let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
            std::fs::File::open(root.join("usr/bin/true")).unwrap().set_modified(old).unwrap();
            let disk = folder.path().join(format!("{name}.img"));
            let size = 64 << 20;
            Raw::create(&disk, size).unwrap();
            let place = ImagePartition { disk: disk.clone(), offset: 0, size };
            wanted().make(&place, &root, CLOCK).unwrap();
            Tool::new("e2fsck", "e2fsprogs").arg("-fn").arg(&disk).run().unwrap();
            disk
        };
        let first = make("first");
        std::thread::sleep(Duration::from_millis(1100));
        let second = make("second");
        Tool::new("cmp", "diffutils").arg(&first).arg(second).run().unwrap();

        let times = |inode: &str| -> BTreeSet<String> {
            let request = format!("stat {inode}");
            let said = Tool::new("debugfs", "e2fsprogs").args(["-R", &request]).arg(&first).run();
            let said = said.unwrap();
            let times = said.lines().filter_map(|line| line.split_once("time: "));
            times.map(|(_, time)| time[..10].to_owned()).collect()
        };
        let clock = format!("{CLOCK:#x}");
        for inode in ["<2>", "<7>", "<8>", "/etc", "/etc/hostname", "/bin"] {
            assert_eq!(times(inode), BTreeSet::from([clock.clone()]), "{inode}");
        }
        assert_eq!(times("/usr/bin/true"), BTreeSet::from(["0x3b9aca00".into(), clock]));
    }

    #[test]
    fn a_disk_that_is_too_small_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("big"), vec![1; 24 << 20]).unwrap();
        let disk = folder.path().join("disk.img");
        Raw::create(&disk, 16 << 20).unwrap();
        let place = ImagePartition { disk, offset: 0, size: 16 << 20 };
        let error = wanted().make(&place, &root, CLOCK).unwrap_err().to_string();
        assert!(
            error.starts_with("the files do not fit into the root file system of 16 MiB"),
            "{error}"
        );
    }
}
