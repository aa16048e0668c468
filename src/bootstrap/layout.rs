//! How a bootstrapped disk is partitioned: as the images of Debian's cloud team are, or as
//! Raspberry Pi OS is.

use uuid::{Builder, Uuid};

use crate::config::{Arch, Bootstrap, Layout};
use crate::disk::Disk;
use crate::table::{NewGptPartition, NewMbrPartition, create_gpt, create_mbr, guid};
use crate::util::error::{Error, Result};
use crate::util::sha256::Sha256;

/// Bytes.
pub(super) const SECTOR: u64 = 512;

/// Sectors that the root partition leaves free at the end: the backup table, and so much that it
/// ends on a whole MiB.
const TAIL: u64 = 2048;

/// Where a PC's BIOS finds the rest of GRUB, on amd64.
pub(super) const BIOS_BOOT: SectorRange = SectorRange { start: 2048, sectors: 6144 };

/// A partition, in sectors.
#[derive(Clone, Copy, Debug)]
pub(super) struct SectorRange {
    pub start: u64,
    pub sectors: u64,
}

/// Partitions and ids of a bootstrapped disk. The same base has the same ids everywhere.
pub(super) struct BootstrapLayout {
    pub arch: Arch,
    pub kind: Layout,
    pub firmware_volume: u32,
    pub root_uuid: Uuid,
    pub hash_seed: Uuid,
    disk_id: Uuid,
    firmware_id: Uuid,
    root_id: Uuid,
    bios_id: Uuid,
}

impl BootstrapLayout {
    pub(super) fn new(base: &Bootstrap) -> Self {
        let layout = match base.layout {
            Layout::Uefi => "",
            Layout::BiosUefi => " bios-uefi",
            Layout::RaspberryPi => " raspberry-pi",
        };
        let id =
            |purpose: &str| derive(&format!("{} {:?}{layout} {purpose}", base.suite, base.arch));
        let volume = id("esp volume").as_fields().0;
        Self {
            arch: base.arch,
            kind: base.layout,
            disk_id: id("disk"),
            firmware_id: id("esp"),
            firmware_volume: volume,
            root_id: id("root"),
            root_uuid: id("root file system"),
            hash_seed: id("hash seed"),
            bios_id: id("bios boot"),
        }
    }

    /// The partition that firmware reads: the EFI system partition, or `bootfs`.
    pub(super) fn firmware(&self) -> SectorRange {
        match (self.kind, self.arch) {
            (Layout::Uefi | Layout::BiosUefi, Arch::Amd64) => {
                SectorRange { start: 8192, sectors: 253_952 }
            }
            (Layout::Uefi | Layout::BiosUefi, Arch::Arm64) => {
                SectorRange { start: 2048, sectors: 260_096 }
            }
            (Layout::RaspberryPi, _) => SectorRange { start: 16_384, sectors: 1_048_576 },
        }
    }

    /// The root partition of a disk of `size` bytes.
    pub(super) fn root(&self, size: u64) -> SectorRange {
        let (start, tail) = match self.kind {
            Layout::Uefi | Layout::BiosUefi => (262_144, TAIL),
            Layout::RaspberryPi => (1_064_960, 0),
        };
        SectorRange { start, sectors: (size / SECTOR).saturating_sub(tail + start) }
    }

    /// `PARTUUID` of the partition that firmware reads.
    pub(super) fn firmware_id(&self) -> String {
        match self.kind {
            Layout::Uefi | Layout::BiosUefi => self.firmware_id.to_string(),
            Layout::RaspberryPi => format!("{:08x}-01", self.signature()),
        }
    }

    /// `PARTUUID` of the root partition.
    pub(super) fn root_id(&self) -> String {
        match self.kind {
            Layout::Uefi | Layout::BiosUefi => self.root_id.to_string(),
            Layout::RaspberryPi => format!("{:08x}-02", self.signature()),
        }
    }

    /// Writes the partition table.
    pub(super) fn write(&self, disk: &dyn Disk) -> Result<()> {
        match self.kind {
            Layout::Uefi | Layout::BiosUefi => self.write_gpt(disk),
            Layout::RaspberryPi => self.write_mbr(disk),
        }
    }

    /// The disk's id in its MBR.
    fn signature(&self) -> u32 {
        self.disk_id.as_fields().0
    }

    fn write_gpt(&self, disk: &dyn Disk) -> Result<()> {
        let new = |number, extent: SectorRange, kind, guid| NewGptPartition {
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
            new(1, self.root(disk.size()), root_kind, self.root_id),
            new(15, self.firmware(), guid::EFI_SYSTEM, self.firmware_id),
        ];
        if self.arch == Arch::Amd64 {
            partitions.push(new(14, BIOS_BOOT, guid::BIOS_BOOT, self.bios_id));
        }
        create_gpt(disk, self.disk_id, &partitions)
    }

    fn write_mbr(&self, disk: &dyn Disk) -> Result<()> {
        let new = |number, extent: SectorRange, kind| -> Result<NewMbrPartition> {
            let sectors = |count: u64| {
                u32::try_from(count).map_err(|_| Error::input("the disk is too large for an MBR"))
            };
            Ok(NewMbrPartition {
                number,
                start: sectors(extent.start)?,
                sectors: sectors(extent.sectors)?,
                kind,
                bootable: false,
            })
        };
        // FAT32 counted by sectors, and Linux.
        let partitions = [new(1, self.firmware(), 0x0c)?, new(2, self.root(disk.size()), 0x83)?];
        create_mbr(disk, self.signature(), &partitions)
    }
}

/// A UUID of version 8 that is the same for the same purpose.
fn derive(purpose: &str) -> Uuid {
    let hash = Sha256::of(format!("nodeforge {purpose}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.bytes()[..16]);
    Builder::from_custom_bytes(bytes).into_uuid()
}
