//! What fills a disk or partition, told by its magic numbers.

use crate::disk::Disk;
use crate::util::error::{Context, Result};

/// What was recognised. The magics are those of libblkid's prober for each format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ext2, ext3 or ext4: one on-disk format that grew.
    Ext4,
    /// FAT12, FAT16 or FAT32.
    Fat,
    /// exFAT.
    ExFat,
    /// NTFS.
    Ntfs,
    /// Btrfs.
    Btrfs,
    /// XFS.
    Xfs,
    /// F2FS.
    F2fs,
    /// A physical volume of LVM2.
    Lvm,
    /// A LUKS container.
    Luks,
    /// A `BitLocker` container.
    BitLocker,
    /// A member of a Linux software RAID.
    Raid,
    /// Linux swap.
    Swap,
    /// squashfs.
    Squashfs,
    /// EROFS.
    Erofs,
    /// An ISO 9660 image.
    Iso9660,
    /// HFS+.
    HfsPlus,
    /// APFS.
    Apfs,
    /// bcachefs.
    Bcachefs,
    /// Only zeros where any of the others would have something.
    Empty,
    /// Something else.
    Unknown,
}

impl Kind {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Fat => "FAT",
            Self::ExFat => "exFAT",
            Self::Ntfs => "NTFS",
            Self::Btrfs => "Btrfs",
            Self::Xfs => "XFS",
            Self::F2fs => "F2FS",
            Self::Lvm => "LVM",
            Self::Luks => "LUKS encryption",
            Self::BitLocker => "BitLocker encryption",
            Self::Raid => "software RAID",
            Self::Swap => "swap",
            Self::Squashfs => "squashfs",
            Self::Erofs => "EROFS",
            Self::Iso9660 => "ISO 9660",
            Self::HfsPlus => "HFS+",
            Self::Apfs => "APFS",
            Self::Bcachefs => "bcachefs",
            Self::Empty => "nothing",
            Self::Unknown => "unknown data",
        }
    }
}

/// A format, where its magic lies (in bytes), and the magic. The first that matches is it:
/// containers come before file systems, whose leftovers they may still hold.
const MAGICS: &[(Kind, usize, &[u8])] = &[
    (Kind::Luks, 0, b"LUKS\xba\xbe"),
    (Kind::BitLocker, 3, b"-FVE-FS-"),
    (Kind::Lvm, 0x018, b"LVM2 001"),
    (Kind::Lvm, 0x218, b"LVM2 001"),
    (Kind::Lvm, 0x418, b"LVM2 001"),
    (Kind::Lvm, 0x618, b"LVM2 001"),
    (Kind::Raid, 0, b"\xfc\x4e\x2b\xa9"),
    (Kind::Raid, 4096, b"\xfc\x4e\x2b\xa9"),
    (Kind::Ext4, 1080, b"\x53\xef"),
    (Kind::Btrfs, 0x1_0040, b"_BHRfS_M"),
    (Kind::Xfs, 0, b"XFSB"),
    (Kind::F2fs, 1024, b"\x10\x20\xf5\xf2"),
    (Kind::Erofs, 1024, b"\xe2\xe1\xf5\xe0"),
    (Kind::Squashfs, 0, b"hsqs"),
    (Kind::Swap, 4086, b"SWAPSPACE2"),
    (Kind::Swap, 16_374, b"SWAPSPACE2"),
    (Kind::Swap, 65_526, b"SWAPSPACE2"),
    (Kind::ExFat, 3, b"EXFAT   "),
    (Kind::Ntfs, 3, b"NTFS    "),
    (Kind::HfsPlus, 1024, b"H+\x00\x04"),
    (Kind::HfsPlus, 1024, b"HX\x00\x05"),
    (Kind::Apfs, 32, b"NXSB"),
    (Kind::Bcachefs, 0x1018, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"),
    (Kind::Bcachefs, 0x1018, b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"),
    (Kind::Iso9660, 0x8001, b"CD001"),
];

/// How much of the beginning holds all the magics, in bytes.
const WINDOW: u64 = 68 * 1024;

/// Recognises what fills `disk`. Never writes.
pub fn probe(disk: &dyn Disk) -> Result<Kind> {
    let length = usize::try_from(disk.size().min(WINDOW)).expect("the window fits in memory");
    let mut head = vec![0; length];
    disk.read_at(&mut head, 0).context(|| "reading the beginning of the file system")?;
    let has = |&&(_, at, magic): &&(Kind, usize, &[u8])| {
        head.get(at..).is_some_and(|rest| rest.starts_with(magic))
    };
    if let Some(&(kind, ..)) = MAGICS.iter().find(has) {
        return Ok(kind);
    }
    if is_fat(&head) {
        return Ok(Kind::Fat);
    }
    Ok(if head.iter().all(|&byte| byte == 0) { Kind::Empty } else { Kind::Unknown })
}

/// Whether a boot sector describes a FAT file system. There is no magic: the sizes it gives must
/// be ones FAT allows (Microsoft's `fatgen103`, "Boot Sector and BPB"). A partition table's boot
/// sector, which has code where these sizes would be, does not pass.
fn is_fat(head: &[u8]) -> bool {
    let Some(boot) = head.get(..512) else { return false };
    let word = |at: usize| u16::from_le_bytes([boot[at], boot[at + 1]]);
    let sector_sizes = [512, 1024, 2048, 4096];
    let jumps = (boot[0] == 0xeb && boot[2] == 0x90) || boot[0] == 0xe9;
    boot[510..512] == [0x55, 0xaa]
        && jumps
        && sector_sizes.contains(&word(11))
        && boot[13].is_power_of_two()
        && word(14) > 0
        && (1..=2).contains(&boot[16])
        && (boot[21] == 0xf0 || boot[21] >= 0xf8)
}
