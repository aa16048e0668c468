//! What fills a disk or partition, told by its magic numbers.

use std::io;

use crate::disk::Disk;
use crate::util::error::{Context, Result};

/// What was recognised. The magics are those of libblkid's prober for each format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ext2, ext3 or ext4: one on-disk format that grew.
    Ext4,
    /// The journal of an ext3 or ext4 that is elsewhere.
    Ext4Journal,
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
    /// A backing or cache device of bcache.
    Bcache,
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
            Self::Ext4Journal => "external ext4 journal",
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
            Self::Bcache => "bcache",
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
    (Kind::Luks, 0x4000, b"SKUL\xba\xbe"),
    (Kind::Luks, 0x8000, b"SKUL\xba\xbe"),
    (Kind::Luks, 0x1_0000, b"SKUL\xba\xbe"),
    (Kind::BitLocker, 3, b"-FVE-FS-"),
    (Kind::Lvm, 0x018, b"LVM2 001"),
    (Kind::Lvm, 0x218, b"LVM2 001"),
    (Kind::Lvm, 0x418, b"LVM2 001"),
    (Kind::Lvm, 0x618, b"LVM2 001"),
    (Kind::Raid, 0, b"\xfc\x4e\x2b\xa9"),
    (Kind::Raid, 4096, b"\xfc\x4e\x2b\xa9"),
    (Kind::Bcache, 0x1018, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"),
    (Kind::Ext4, 1080, b"\x53\xef"),
    (Kind::Btrfs, 0x1_0040, b"_BHRfS_M"),
    (Kind::Xfs, 0, b"XFSB"),
    (Kind::F2fs, 1024, b"\x10\x20\xf5\xf2"),
    (Kind::Erofs, 1024, b"\xe2\xe1\xf5\xe0"),
    (Kind::Squashfs, 0, b"hsqs"),
    (Kind::Swap, 4086, b"SWAPSPACE2"),
    (Kind::Swap, 8182, b"SWAPSPACE2"),
    (Kind::Swap, 16_374, b"SWAPSPACE2"),
    (Kind::Swap, 32_758, b"SWAPSPACE2"),
    (Kind::Swap, 65_526, b"SWAPSPACE2"),
    (Kind::Swap, 4086, b"SWAP-SPACE"),
    (Kind::Swap, 8182, b"SWAP-SPACE"),
    (Kind::Swap, 16_374, b"SWAP-SPACE"),
    (Kind::Swap, 32_758, b"SWAP-SPACE"),
    (Kind::Swap, 65_526, b"SWAP-SPACE"),
    (Kind::ExFat, 3, b"EXFAT   "),
    (Kind::Ntfs, 3, b"NTFS    "),
    (Kind::HfsPlus, 1024, b"H+\x00\x04"),
    (Kind::HfsPlus, 1024, b"HX\x00\x05"),
    (Kind::Apfs, 32, b"NXSB"),
    (Kind::Bcachefs, 0x1018, b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"),
    (Kind::Iso9660, 0x8001, b"CD001"),
];

/// How much of the beginning holds all the magics, in bytes.
const WINDOW: u64 = 68 * 1024;

/// The feature of an ext4 superblock that is a journal's, and where its word is.
const JOURNAL_DEVICE: u8 = 0x8;
const INCOMPAT: usize = 1024 + 0x60;
const LOG_BLOCK_SIZE: usize = 1024 + 0x18;

/// Recognises what fills `disk`. Never writes.
pub fn probe(disk: &dyn Disk) -> Result<Kind> {
    let length = usize::try_from(disk.size().min(WINDOW)).expect("the window fits in memory");
    let mut head = vec![0; length];
    disk.read_at(&mut head, 0).context(|| "reading the beginning of the file system")?;
    let has = |&&(kind, at, magic): &&(Kind, usize, &[u8])| {
        let has_magic = head.get(at..).is_some_and(|rest| rest.starts_with(magic));
        // Two bytes are found by chance: the size of blocks must be one, too.
        has_magic && (kind != Kind::Ext4 || has_block_size(&head))
    };
    let found = MAGICS.iter().find(has).map(|it| it.0);
    let found = found.or_else(|| is_fat(&head).then_some(Kind::Fat));
    // What a mirror's members begin with is what is in the mirror.
    if is_raid(disk).context(|| "reading the end of the file system")? {
        return Ok(Kind::Raid);
    }
    Ok(match found {
        Some(Kind::Ext4) if head[INCOMPAT] & JOURNAL_DEVICE != 0 => Kind::Ext4Journal,
        Some(kind) => kind,
        None if head.iter().all(|&byte| byte == 0) => Kind::Empty,
        None => Kind::Unknown,
    })
}

/// Whether an ext4 superblock has a size of blocks that libblkid takes for one.
fn has_block_size(head: &[u8]) -> bool {
    let log = head.get(LOG_BLOCK_SIZE..).and_then(|rest| rest.first_chunk());
    log.is_some_and(|log| u32::from_le_bytes(*log) < 32)
}

/// Whether a software RAID's superblock is at the end, where versions 0.90 and 1.0 put it (kernel,
/// `include/uapi/linux/raid/md_p.h`; `mdadm`, `super0.c` and `super1.c`).
fn is_raid(disk: &dyn Disk) -> io::Result<bool> {
    const MAGIC: [u8; 4] = [0xfc, 0x4e, 0x2b, 0xa9];
    const UNIT: u64 = 64 * 1024;
    let mut found = [0; 8];
    let old = (disk.size() / UNIT).checked_sub(1).map(|unit| unit * UNIT);
    let new = (disk.size() / 512).checked_sub(16).map(|sector| sector / 8 * 8 * 512);
    for (at, version) in [(old, 0_u8), (new, 1)] {
        let Some(at) = at else { continue };
        disk.read_at(&mut found, at)?;
        // An old one has the byte order of its machine.
        let (big, is_old) = ([0xa9, 0x2b, 0x4e, 0xfc], version == 0);
        let is_little = found[..4] == MAGIC && found[4..] == [version, 0, 0, 0];
        if is_little || (is_old && found[..4] == big && found[4..] == [0; 4]) {
            return Ok(true);
        }
    }
    Ok(false)
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::disk::testing::tool;
    use crate::disk::{Raw, Shadow};
    use crate::fs;

    fn kind(image: &Path) -> Kind {
        probe(&Raw::open(image).expect("opened")).expect("probed")
    }

    fn empty(image: &Path, size: u64) {
        File::create(image).and_then(|file| file.set_len(size)).expect("an image");
    }

    /// Both as blkid names them: `jbd` and `swap`.
    #[test]
    fn journals_and_swap_are_not_file_systems() {
        let folder = tempfile::tempdir().expect("a folder");
        let image = folder.path().join("image");
        empty(&image, 16 << 20);
        tool(folder.path(), "mke2fs", &["-q", "-O", "journal_dev", "image"]);
        assert_eq!(kind(&image), Kind::Ext4Journal);
        empty(&image, 16 << 20);
        tool(folder.path(), "mkswap", &["image"]);
        assert_eq!(kind(&image), Kind::Swap);
        let file = File::options().write(true).open(&image).expect("opened");
        std::os::unix::fs::FileExt::write_all_at(&file, b"SWAP-SPACE", 4086).expect("written");
        assert_eq!(kind(&image), Kind::Swap);
    }

    /// A mirror's member with a file system that anybody could mount, and must not change alone.
    #[test]
    fn a_member_of_a_mirror_is_not_edited() {
        let folder = tempfile::tempdir().expect("a folder");
        let image = folder.path().join("image");
        for (at, version) in [((16 << 20) - (64 << 10), 0_u8), ((16 << 20) - 8192, 1)] {
            empty(&image, 16 << 20);
            tool(folder.path(), "mke2fs", &["-q", "-t", "ext4", "image", "15M"]);
            assert_eq!(kind(&image), Kind::Ext4);
            let file = File::options().write(true).open(&image).expect("opened");
            let superblock = [0xfc, 0x4e, 0x2b, 0xa9, version, 0, 0, 0, 90 * (1 - version)];
            std::os::unix::fs::FileExt::write_all_at(&file, &superblock, at).expect("written");
            assert_eq!(kind(&image), Kind::Raid, "{version}");
            let disk = Arc::new(Raw::open(&image).expect("opened"));
            let scratch = tempfile::tempfile().expect("a file");
            let shadow = Arc::new(Shadow::new(disk, scratch).expect("made"));
            let error = fs::open(shadow, 0).err().expect("refused");
            assert_eq!(error.to_string(), "software RAID is not supported");
        }
    }
}
