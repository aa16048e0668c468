//! Linux: block devices as sysfs lists them, and what is made of them.

use std::collections::BTreeSet;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::contents::Contents;
use super::device::{Device, Purpose, Use};
use super::mounts::MountEntry;
use super::node::DeviceNode;
use super::sysfs::Block;
use crate::disk::Raw;
use crate::flash::{mounts, sysfs};
use crate::util::error::{Context, Error, Result};

/// Every block device, and what uses them.
struct Inventory {
    blocks: Vec<Block>,
    mounts: Vec<MountEntry>,
    swaps: Vec<PathBuf>,
}

/// Whole devices that an image could be meant for, by their nodes.
pub fn list() -> Result<Vec<Device>> {
    let inventory = Inventory::read(Path::new("/")).context(|| "listing block devices")?;
    let candidates = inventory.blocks.iter().filter(|block| block.is_candidate());
    Ok(candidates.map(|block| inventory.device(block)).collect())
}

/// What a path names, symbolic links followed.
pub fn find(path: &Path) -> Result<DeviceNode> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(DeviceNode::Missing),
        Err(error) => return Err(error).context(|| format!("opening `{}`", path.display())),
    };
    if metadata.is_file() {
        return Ok(DeviceNode::File);
    }
    if !metadata.file_type().is_block_device() {
        return Ok(DeviceNode::Other);
    }
    let inventory = Inventory::read(Path::new("/")).context(|| "listing block devices")?;
    let number = number(metadata.rdev());
    let block = inventory.blocks.iter().find(|block| block.number == number).ok_or_else(|| {
        Error::input(format!("the kernel knows no device behind `{}`", path.display()))
            .hint("it may have been pulled; `nodeforge flash --list` shows what is there")
    })?;
    Ok(match &block.parent {
        None => DeviceNode::Whole(inventory.device(block)),
        Some(disk) => DeviceNode::Partition { disk: sysfs::node(disk) },
    })
}

/// What a device holds now.
pub fn contents(device: &Device) -> Contents {
    match Raw::open(&device.path) {
        Ok(disk) => Contents::of(std::sync::Arc::new(disk)),
        Err(_) => Contents::unreadable(),
    }
}

fn number(device: u64) -> (u32, u32) {
    (rustix::fs::major(device), rustix::fs::minor(device))
}

impl Inventory {
    /// Reads `sys` and `proc` below `root`.
    fn read(root: &Path) -> io::Result<Self> {
        Ok(Self {
            blocks: sysfs::blocks(&root.join("sys"))?,
            mounts: mounts::mounts(&fs::read(root.join("proc/self/mountinfo"))?),
            // A kernel without swap has no such file.
            swaps: mounts::swaps(&fs::read(root.join("proc/swaps")).unwrap_or_default()),
        })
    }

    fn device(&self, block: &Block) -> Device {
        let facts = block.facts();
        Device {
            path: block.node(),
            vendor: facts.vendor,
            model: facts.model,
            serial: facts.serial,
            size: facts.size,
            sector_size: facts.sector_size,
            removable: facts.removable,
            transport: facts.transport,
            read_only: facts.read_only,
            uses: self.uses(block),
        }
    }

    /// What the disk and its partitions are used for, directly or through what is made of them.
    fn uses(&self, disk: &Block) -> Vec<Use> {
        let mut uses = Vec::new();
        for part in self.with_partitions(disk) {
            let mut seen = BTreeSet::new();
            let mut purposes = Vec::new();
            self.collect(part, &mut seen, &mut purposes);
            purposes.sort();
            purposes.dedup();
            uses.extend(purposes.into_iter().map(|purpose| Use { node: part.node(), purpose }));
        }
        uses
    }

    /// The purposes of one block device and of everything above it.
    fn collect<'a>(
        &'a self,
        block: &'a Block,
        seen: &mut BTreeSet<&'a str>,
        purposes: &mut Vec<Purpose>,
    ) {
        if !seen.insert(&block.name) {
            return;
        }
        let mounted =
            self.mounts.iter().filter(|mount| Self::is(block, &mount.source, mount.number));
        purposes.extend(mounted.map(|mount| Purpose::Mounted(mount.at.clone())));
        if self.swaps.iter().any(|path| Self::is(block, path, (0, 0))) {
            purposes.push(Purpose::Swap);
        }
        if let Some(file_system) = &block.member_of {
            purposes.push(Purpose::Held(file_system.clone()));
        }
        for other in &self.blocks {
            let held = block.holders.contains(&other.name);
            let looped = other.backing.as_deref().is_some_and(|path| Self::is(block, path, (0, 0)));
            if held || looped {
                purposes.push(Purpose::Held(other.title.clone()));
                for above in self.with_partitions(other) {
                    self.collect(above, seen, purposes);
                }
            }
        }
    }

    fn with_partitions<'a>(&'a self, disk: &'a Block) -> impl Iterator<Item = &'a Block> {
        let parts = self.blocks.iter().filter(|it| it.parent.as_deref() == Some(&disk.name));
        std::iter::once(disk).chain(parts)
    }

    /// Whether a number, or else a path, means this block device. Major 0 means nothing: Btrfs and
    /// its like make numbers up, and then the path tells.
    fn is(block: &Block, path: &Path, number: (u32, u32)) -> bool {
        if number.0 != 0 {
            return number == block.number;
        }
        if block.node() == path {
            return true;
        }
        // Another name of the same: `/dev/mapper/vg-swap`, `/dev/disk/by-id/…`.
        path.starts_with("/dev")
            && fs::metadata(path).is_ok_and(|metadata| {
                metadata.file_type().is_block_device()
                    && self::number(metadata.rdev()) == block.number
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine's `sys` and `proc`, as far as they are read.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new(mountinfo: &str, swaps: &str) -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            machine.put("proc/self/mountinfo", mountinfo);
            machine.put("proc/swaps", swaps);
            fs::create_dir_all(machine.0.path().join("sys/block")).unwrap();
            machine
        }

        fn put(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn disk(self, name: &str, number: &str) -> Self {
            self.put(&format!("sys/block/{name}/dev"), number);
            self.put(&format!("sys/block/{name}/size"), "62333952\n");
            self
        }

        fn partition(self, disk: &str, name: &str, number: &str) -> Self {
            self.put(&format!("sys/block/{disk}/{name}/dev"), number);
            self.put(&format!("sys/block/{disk}/{name}/partition"), "1\n");
            self
        }

        fn holder(self, block: &str, holder: &str) -> Self {
            self.put(&format!("sys/block/{block}/holders/{holder}/dev"), "");
            self
        }

        fn file(self, path: &str, text: &str) -> Self {
            self.put(path, text);
            self
        }

        fn uses(&self, disk: &str) -> Vec<(String, String)> {
            let inventory = Inventory::read(self.0.path()).unwrap();
            let block = inventory.blocks.iter().find(|it| it.name == disk).unwrap();
            let text = |it: Use| (it.node.display().to_string(), it.purpose.to_string());
            inventory.uses(block).into_iter().map(text).collect()
        }
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn mounts_and_swap_are_found_on_partitions() {
        let machine = Machine::new(
            "1 0 8:2 / / rw - ext4 /dev/root rw\n2 1 0:40 /@ /home rw - btrfs /dev/sda3 rw\n",
            "Filename Type\n/dev/sda4 partition 1 0 -2\n",
        )
        .disk("sda", "8:0")
        .partition("sda", "sda2", "8:2")
        .partition("sda", "sda3", "8:3")
        .partition("sda", "sda4", "8:4")
        .disk("sdb", "8:16");
        let expected = [("/dev/sda2", "/"), ("/dev/sda3", "/home"), ("/dev/sda4", "swap")];
        assert_eq!(machine.uses("sda"), pairs(&expected));
        assert_eq!(machine.uses("sdb"), []);
    }

    #[test]
    fn root_is_found_through_encryption_and_lvm() {
        let machine = Machine::new("1 0 253:1 / / rw - ext4 /dev/mapper/vg-root rw\n", "")
            .disk("nvme0n1", "259:0")
            .partition("nvme0n1", "nvme0n1p3", "259:3")
            .holder("nvme0n1/nvme0n1p3", "dm-0")
            .disk("dm-0", "253:0")
            .file("sys/block/dm-0/dm/name", "luks\n")
            .holder("dm-0", "dm-1")
            .disk("dm-1", "253:1")
            .file("sys/block/dm-1/dm/name", "vg-root\n");
        let expected =
            [("/dev/nvme0n1p3", "/"), ("/dev/nvme0n1p3", "luks"), ("/dev/nvme0n1p3", "vg-root")];
        assert_eq!(machine.uses("nvme0n1"), pairs(&expected));
    }

    #[test]
    fn loop_devices_on_a_device_and_their_partitions_count() {
        let machine = Machine::new("1 0 259:9 / /mnt rw - ext4 /dev/loop3p1 rw\n", "")
            .disk("sdb", "8:16")
            .disk("loop3", "7:3")
            .partition("loop3", "loop3p1", "259:9")
            .file("sys/block/loop3/loop/backing_file", "/dev/sdb\n");
        assert_eq!(machine.uses("sdb"), pairs(&[("/dev/sdb", "/mnt"), ("/dev/sdb", "loop3")]));
    }

    #[test]
    fn every_disk_of_a_btrfs_is_in_use() {
        let machine = Machine::new("1 0 0:33 / /data rw - btrfs /dev/sda rw\n", "")
            .disk("sda", "8:0")
            .disk("sdb", "8:16")
            .file("sys/fs/btrfs/11-22/devices/sda/dev", "")
            .file("sys/fs/btrfs/11-22/devices/sdb/dev", "");
        assert_eq!(machine.uses("sdb"), pairs(&[("/dev/sdb", "btrfs")]));
    }
}
