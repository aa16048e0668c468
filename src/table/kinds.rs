//! What partitions are said to hold.

use std::fmt;

use uuid::Uuid;

/// A partition's type, by its table's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PartitionType {
    /// GPT's type GUID.
    Guid(Uuid),
    /// MBR's type byte.
    Byte(u8),
}

/// Type GUIDs: the UEFI specification's, and those of the Discoverable Partitions Specification.
pub mod guid {
    use uuid::{Uuid, uuid};

    /// EFI system partition.
    pub const EFI_SYSTEM: Uuid = uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    /// Where GRUB keeps its second part on a BIOS machine.
    pub const BIOS_BOOT: Uuid = uuid!("21686148-6449-6e6f-744e-656564454649");
    /// Any Linux file system.
    pub const LINUX: Uuid = uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4");
    /// Root of an x86-64 system.
    pub const ROOT_X86_64: Uuid = uuid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
    /// Root of a 64-bit Arm system.
    pub const ROOT_ARM64: Uuid = uuid!("b921b045-1df0-41c3-af44-4c6f280d3fae");
    /// `/boot` of the boot loader specification.
    pub const XBOOTLDR: Uuid = uuid!("bc13c2ff-59e6-4262-a352-b275fd6f7172");
    /// Swap.
    pub const SWAP: Uuid = uuid!("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f");
    /// `/home`.
    pub const HOME: Uuid = uuid!("933ac7e1-2eb4-4f13-b844-0e14e2aef915");
    /// `/srv`.
    pub const SRV: Uuid = uuid!("3b8f8425-20e0-4f3b-907f-1a25a76f98e8");
    /// `/var`.
    pub const VAR: Uuid = uuid!("4d21b016-b534-45c2-a9fb-5c16e091fd2d");
    /// Physical volume of LVM.
    pub const LVM: Uuid = uuid!("e6d6d379-f507-44c2-a23c-238f2a3df928");
    /// Member of a RAID.
    pub const RAID: Uuid = uuid!("a19d880f-05fc-4d3b-a006-743f0f84911e");
    /// LUKS.
    pub const LUKS: Uuid = uuid!("ca7d7ccb-63ed-4c53-861c-1742536059cc");
    /// FAT and NTFS.
    pub const BASIC_DATA: Uuid = uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7");
    /// Room Windows keeps for itself.
    pub const MICROSOFT_RESERVED: Uuid = uuid!("e3c9e316-0b5c-4db8-817d-f92df00215ae");
}

impl PartitionType {
    /// What people call it; `None` when it is not known here.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Guid(guid) => guid_name(guid),
            Self::Byte(byte) => byte_name(byte),
        }
    }

    /// Whether it is the root file system of some machine, by the Discoverable Partitions
    /// Specification.
    pub fn is_root(self) -> bool {
        matches!(self, Self::Guid(guid::ROOT_X86_64 | guid::ROOT_ARM64))
    }
}

fn guid_name(guid: Uuid) -> Option<&'static str> {
    Some(match guid {
        guid::EFI_SYSTEM => "EFI system",
        guid::BIOS_BOOT => "BIOS boot",
        guid::LINUX => "Linux file system",
        guid::ROOT_X86_64 => "Linux root (x86-64)",
        guid::ROOT_ARM64 => "Linux root (arm64)",
        guid::XBOOTLDR => "Linux extended boot",
        guid::SWAP => "Linux swap",
        guid::HOME => "Linux home",
        guid::SRV => "Linux server data",
        guid::VAR => "Linux variable data",
        guid::LVM => "Linux LVM",
        guid::RAID => "Linux RAID",
        guid::LUKS => "Linux LUKS",
        guid::BASIC_DATA => "Microsoft basic data",
        guid::MICROSOFT_RESERVED => "Microsoft reserved",
        _ => return None,
    })
}

/// The names of `sfdisk --list-types`.
fn byte_name(byte: u8) -> Option<&'static str> {
    Some(match byte {
        0x01 => "FAT12",
        0x04 => "FAT16 <32M",
        0x06 => "FAT16",
        0x07 => "HPFS/NTFS/exFAT",
        0x0b => "W95 FAT32",
        0x0c => "W95 FAT32 (LBA)",
        0x0e => "W95 FAT16 (LBA)",
        0x82 => "Linux swap",
        0x83 => "Linux",
        0x8e => "Linux LVM",
        0xa8 => "Darwin UFS",
        0xaf => "HFS / HFS+",
        0xda => "Non-FS data",
        0xea => "Linux extended boot",
        0xef => "EFI (FAT-12/16/32)",
        0xfd => "Linux raid autodetect",
        _ => return None,
    })
}

/// The name, or the bare type.
impl fmt::Display for PartitionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name(), self) {
            (Some(name), _) => f.pad(name),
            (None, Self::Guid(guid)) => f.pad(&guid.to_string()),
            (None, Self::Byte(byte)) => f.pad(&format!("type {byte:02x}")),
        }
    }
}
