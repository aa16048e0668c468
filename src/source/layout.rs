//! How a bootstrapped disk is partitioned: as Debian's cloud images are.

use uuid::{Builder, Uuid};

use crate::config::{Arch, Bootstrap};
use crate::digest::sha256;
use crate::disk::Disk;
use crate::error::Result;
use crate::table::{NewGptPartition, create_gpt, guid};

/// Bytes.
pub(super) const SECTOR: u64 = 512;

/// Sectors that the root partition leaves free at the end: the backup table, and so much that it
/// ends on a whole MiB.
const TAIL: u64 = 2048;

/// A partition, in sectors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub start: u64,
    pub sectors: u64,
}

/// Partitions and ids of a bootstrapped UEFI disk. The same base has the same ids everywhere.
pub(super) struct Layout {
    pub arch: Arch,
    pub disk_id: Uuid,
    pub esp_id: Uuid,
    pub esp_volume: u32,
    pub root_id: Uuid,
    pub root_uuid: Uuid,
    pub hash_seed: Uuid,
    bios_id: Uuid,
}

impl Layout {
    pub(super) fn new(base: &Bootstrap) -> Self {
        let id = |purpose: &str| derive(&format!("{} {:?} {purpose}", base.suite, base.arch));
        let volume = id("esp volume").as_fields().0;
        Self {
            arch: base.arch,
            disk_id: id("disk"),
            esp_id: id("esp"),
            esp_volume: volume,
            root_id: id("root"),
            root_uuid: id("root file system"),
            hash_seed: id("hash seed"),
            bios_id: id("bios boot"),
        }
    }

    /// The EFI system partition.
    pub(super) fn esp(&self) -> Extent {
        match self.arch {
            Arch::Amd64 => Extent { start: 8192, sectors: 253_952 },
            Arch::Arm64 => Extent { start: 2048, sectors: 260_096 },
        }
    }

    /// The root partition of a disk of `size` bytes.
    pub(super) fn root(size: u64) -> Extent {
        let start = 262_144;
        Extent { start, sectors: (size / SECTOR).saturating_sub(TAIL + start) }
    }

    /// Writes the partition table.
    pub(super) fn write(&self, disk: &dyn Disk) -> Result<()> {
        let new = |number, extent: Extent, kind, guid| NewGptPartition {
            number,
            start: extent.start,
            sectors: extent.sectors,
            kind,
            guid,
            name: "",
            attributes: 0,
        };
        let root_kind = match self.arch {
            Arch::Amd64 => guid::ROOT_X86_64,
            Arch::Arm64 => guid::ROOT_ARM64,
        };
        let mut partitions = vec![
            new(1, Self::root(disk.size()), root_kind, self.root_id),
            new(15, self.esp(), guid::EFI_SYSTEM, self.esp_id),
        ];
        if self.arch == Arch::Amd64 {
            let extent = Extent { start: 2048, sectors: 6144 };
            partitions.push(new(14, extent, guid::BIOS_BOOT, self.bios_id));
        }
        create_gpt(disk, self.disk_id, &partitions)
    }
}

/// A UUID of version 8 that is the same for the same purpose.
fn derive(purpose: &str) -> Uuid {
    let hash = sha256(format!("nodeforge {purpose}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    Builder::from_custom_bytes(bytes).into_uuid()
}
