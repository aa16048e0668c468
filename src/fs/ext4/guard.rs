//! What an ext4 file system must be before it is touched.
//!
//! Field offsets and feature bits: kernel documentation, `filesystems/ext4`, "Super Block".

use crate::disk::Disk;
use crate::fs::repair;
use crate::util::error::{Context, Error, Result};

const SUPERBLOCK: u64 = 1024;
const LOG_BLOCK_SIZE: usize = 0x18;
const STATE: usize = 0x3a;
const COMPAT: usize = 0x5c;
const INCOMPAT: usize = 0x60;
const RO_COMPAT: usize = 0x64;
const LAST_ORPHAN: usize = 0xe8;
const UUID: usize = 0x68;
const LABEL: usize = 0x78;

const STATE_CLEAN: u16 = 1;
const STATE_ERRORS: u16 = 2;
const HAS_JOURNAL: u32 = 0x4;
const NEEDS_RECOVERY: u32 = 0x4;
const EXTENTS: u32 = 0x40;
const METADATA_CSUM: u32 = 0x400;
const ORPHAN_PRESENT: u32 = 0x1_0000;

/// How far a feature is supported here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Support {
    /// Kept consistent by every change.
    Written,
    /// Can be read; changes would leave it inconsistent.
    Read,
    /// As [`Support::Read`], and tune2fs(8) can turn it off.
    ReadUntilTurnedOff,
    /// Cannot even be read.
    No,
}
use Support::{No, Read, ReadUntilTurnedOff, Written};

/// A bit, what e2fsprogs calls it, and how far it is supported.
type Feature = (u32, &'static str, Support);

const COMPAT_FEATURES: &[Feature] = &[
    (0x1, "dir_prealloc", Written),
    (0x2, "imagic_inodes", Read),
    (HAS_JOURNAL, "has_journal", Written),
    (0x8, "ext_attr", Written),
    (0x10, "resize_inode", Written),
    (0x20, "dir_index", Written),
    (0x200, "sparse_super2", Written),
    (0x400, "fast_commit", Written),
    (0x800, "stable_inodes", ReadUntilTurnedOff),
    (0x1000, "orphan_file", Written),
];

const INCOMPAT_FEATURES: &[Feature] = &[
    (0x1, "compression", No),
    (0x2, "filetype", Written),
    (NEEDS_RECOVERY, "needs_recovery", Written),
    (0x8, "journal_dev", No),
    (0x10, "meta_bg", Written),
    (EXTENTS, "extent", Written),
    (0x80, "64bit", Written),
    (0x100, "mmp", ReadUntilTurnedOff),
    (0x200, "flex_bg", Written),
    (0x400, "ea_inode", Read),
    (0x1000, "dirdata", No),
    (0x2000, "metadata_csum_seed", Written),
    (0x4000, "large_dir", Read),
    (0x8000, "inline_data", Written),
    (0x1_0000, "encrypt", Read),
    (0x2_0000, "casefold", Read),
];

const RO_COMPAT_FEATURES: &[Feature] = &[
    (0x1, "sparse_super", Written),
    (0x2, "large_file", Written),
    (0x4, "btree_dir", Read),
    (0x8, "huge_file", Written),
    (0x10, "uninit_bg", Written),
    (0x20, "dir_nlink", Written),
    (0x40, "extra_isize", Written),
    (0x80, "snapshot", Read),
    (0x100, "quota", ReadUntilTurnedOff),
    (0x200, "bigalloc", Read),
    (METADATA_CSUM, "metadata_csum", Written),
    (0x800, "replica", Read),
    (0x1000, "read-only", ReadUntilTurnedOff),
    (0x2000, "project", ReadUntilTurnedOff),
    (0x4000, "shared_blocks", Read),
    (0x8000, "verity", Read),
    (ORPHAN_PRESENT, "orphan_present", Written),
];

/// Refuses what cannot be read and, when the disk can be written, what cannot be changed safely.
pub(super) fn check(disk: &dyn Disk) -> Result<()> {
    check_features(disk, disk.is_writable())?;
    if disk.is_writable() { check_state(disk) } else { Ok(()) }
}

/// The superblock.
fn read(disk: &dyn Disk) -> Result<[u8; 1024]> {
    let mut superblock = [0; 1024];
    disk.read_at(&mut superblock, SUPERBLOCK).context(|| "reading the ext4 superblock")?;
    Ok(superblock)
}

fn word(superblock: &[u8; 1024], at: usize) -> u32 {
    u32::from_le_bytes(*superblock[at..].first_chunk().expect("the offset is a constant"))
}

/// Label and UUID, as far as the superblock can be read.
pub(super) fn identity(disk: &dyn Disk) -> (Option<String>, Option<String>) {
    let Ok(superblock) = read(disk) else { return (None, None) };
    let label = superblock[LABEL..LABEL + 16].split(|&byte| byte == 0).next().unwrap_or_default();
    let label = String::from_utf8_lossy(label).into_owned();
    let uuid: [u8; 16] = *superblock[UUID..].first_chunk().expect("the offset is a constant");
    let uuid = (uuid != [0; 16]).then(|| uuid::Uuid::from_bytes(uuid).hyphenated().to_string());
    (Some(label).filter(|label| !label.is_empty()), uuid)
}

/// What it is called, by the oldest that has all its features (libblkid, `superblocks/ext.c`).
pub(super) fn flavor(disk: &dyn Disk) -> &'static str {
    const EXT2_INCOMPAT: u32 = 0x2 | 0x10;
    const EXT2_RO_COMPAT: u32 = 0x1 | 0x2 | 0x4;
    let Ok(superblock) = read(disk) else { return "ext4" };
    let word = |at| word(&superblock, at);
    let has_journal = word(COMPAT) & HAS_JOURNAL != 0;
    let incompat = if has_journal { EXT2_INCOMPAT | NEEDS_RECOVERY } else { EXT2_INCOMPAT };
    let is_older = word(INCOMPAT) & !incompat == 0 && word(RO_COMPAT) & !EXT2_RO_COMPAT == 0;
    match (is_older, has_journal) {
        (true, false) => "ext2",
        (true, true) => "ext3",
        (false, _) => "ext4",
    }
}

/// Refuses features that cannot be read or, where it is to be changed, kept consistent.
pub(super) fn check_features(disk: &dyn Disk, is_changing: bool) -> Result<()> {
    let superblock = read(disk)?;
    let word = |at| word(&superblock, at);
    let features = [
        (word(COMPAT), COMPAT_FEATURES, Read),
        (word(INCOMPAT), INCOMPAT_FEATURES, No),
        (word(RO_COMPAT), RO_COMPAT_FEATURES, Read),
    ];
    for (bits, known, unknown) in features {
        for bit in (0..32).map(|shift| 1 << shift).filter(|bit| bits & bit != 0) {
            let feature = known.iter().find(|feature| feature.0 == bit);
            let (name, support) = match feature {
                Some(&(_, name, support)) => (name.to_owned(), support),
                None => (format!("{bit:#x}"), unknown),
            };
            check_feature(disk, &name, support, is_changing)?;
        }
    }
    if !is_changing {
        return Ok(());
    }
    if word(INCOMPAT) & EXTENTS == 0 {
        return Err(Error::input(
            "the file system is ext2 or ext3, which nodeforge reads and does not change",
        )
        .hint(format!(
            "make it ext4: {}",
            repair::e2fsprogs(disk, &["tune2fs -O extents", "e2fsck -fy -E bmap2extent"])
        )));
    }
    let block_size = 1024_u64 << word(LOG_BLOCK_SIZE).min(6);
    if word(RO_COMPAT) & METADATA_CSUM != 0 && !checksums_end_extent_blocks(block_size) {
        return Err(Error::input(format!(
            "its blocks of {block_size} bytes with the feature `metadata_csum` cannot be kept \
             consistent by nodeforge"
        ))
        .hint(format!(
            "{}, or use blocks of 4096 bytes",
            repair::e2fsprogs(disk, &["tune2fs -O ^metadata_csum"])
        )));
    }
    Ok(())
}

/// Refuses what was not unmounted cleanly.
fn check_state(disk: &dyn Disk) -> Result<()> {
    let superblock = read(disk)?;
    let word = |at| word(&superblock, at);
    let state = u16::from_le_bytes([superblock[STATE], superblock[STATE + 1]]);
    let unclean = if word(INCOMPAT) & NEEDS_RECOVERY != 0 {
        "it was not unmounted cleanly: its journal holds changes that are not yet in place"
    } else if word(RO_COMPAT) & ORPHAN_PRESENT != 0 || word(LAST_ORPHAN) != 0 {
        "it was not unmounted cleanly: deleted files still wait to be freed"
    } else if state & STATE_ERRORS != 0 {
        "the kernel recorded errors in it"
    } else if state & STATE_CLEAN == 0 {
        "it was not unmounted cleanly"
    } else {
        return Ok(());
    };
    Err(Error::input(unclean).hint(format!("{} first", repair::e2fsprogs(disk, &["e2fsck -fp"]))))
}

/// Whether the checksum of a block of extents is in its last four bytes. It follows the last
/// extent there is room for (kernel, `EXT4_EXTENT_TAIL_OFFSET`); the ext4 crate takes that for the
/// block's end, which it is not when 12 bytes do not divide 2,048.
pub(super) fn checksums_end_extent_blocks(block_size: u64) -> bool {
    (block_size - 12) % 12 == 4
}

fn check_feature(disk: &dyn Disk, name: &str, support: Support, is_changing: bool) -> Result<()> {
    match support {
        Written => Ok(()),
        Read | ReadUntilTurnedOff if !is_changing => Ok(()),
        ReadUntilTurnedOff => Err(Error::input(format!(
            "its feature `{name}` cannot be kept consistent by nodeforge"
        ))
        .hint(format!(
            "turn it off: {}",
            repair::e2fsprogs(disk, &[&format!("tune2fs -O ^{name}"), "e2fsck -fy"])
        ))),
        Read => Err(Error::input(format!(
            "its feature `{name}` cannot be kept consistent by nodeforge"
        ))
        .hint("tune2fs cannot turn it off: copy the files to a file system made without it")),
        No => Err(Error::input(format!("its feature `{name}` is not known to nodeforge"))),
    }
}
