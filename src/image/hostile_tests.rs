//! Damaged and hostile file systems: every one gives an error or a tree, in bounded time.
//! `PROPTEST_CASES` sets how many there are of each kind.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::disk::testing::Memory;
use crate::disk::{Disk, Overlay, Raw};
use crate::fs::{Attributes, CLOCK, FileType, Namespace, Tree, ext4_image, fat_image, open};
use crate::util::error::Result;

const CASES: u64 = 1500;

/// The longest a file system of some MiB may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A generator of numbers that is the same in every run (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Damages some bytes of `disk` in the ranges where its structures are.
fn damage(disk: &dyn Disk, structures: &[Range<u64>], random: &mut Random) {
    for _ in 0..=random.below(12) {
        let which = usize::try_from(random.below(structures.len() as u64)).expect("few");
        let range = &structures[which];
        let at = range.start + random.below(range.end - range.start);
        let value = match random.below(4) {
            0 => 0,
            1 => u32::MAX,
            2 => 1 << random.below(32),
            _ => u32::try_from(random.next() >> 32).expect("32 bits"),
        };
        let length = usize::try_from(1 + random.below(4)).expect("few");
        disk.write_at(&value.to_le_bytes()[..length], at).expect("it is written");
    }
}

/// Reads everything there is, a MiB of each file at most, and then changes some of it.
fn use_up(disk: Arc<dyn Disk>) -> Result<()> {
    let mut tree = Namespace::new(open(disk, CLOCK)?);
    let mut directories = vec![PathBuf::from("/")];
    let mut files = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    while let Some(directory) = directories.pop() {
        if directory.components().count() > 8 || files.len() > 2000 {
            break;
        }
        let Ok(entries) = tree.read_dir(&directory) else { continue };
        for entry in entries {
            let path = directory.join(entry.name);
            let _ = tree.metadata(&path);
            let _ = tree.xattrs(&path);
            let _ = tree.resolve(&path);
            match entry.file_type {
                FileType::Directory => directories.push(path.clone()),
                FileType::File => {
                    let _ = tree.read_at(&path, 0, &mut buffer);
                    let _ = tree.data_runs(&path);
                }
                FileType::Symlink
                | FileType::CharacterDevice
                | FileType::BlockDevice
                | FileType::Fifo
                | FileType::Socket => {
                    let _ = tree.read_link(&path);
                }
            }
            files.push(path);
        }
    }
    let attributes = Attributes { mode: 0o600, uid: 1, gid: 1 };
    for path in files.iter().step_by(5) {
        let _ = tree.write(path, b"changed", Some(attributes));
        let _ = tree.set_xattr(path, "user.x", Some(b"y"));
        let _ = tree.write(&path.join("new"), &[1; 5000], None);
    }
    for path in files.iter().rev().step_by(7) {
        let _ = tree.remove(path);
    }
    tree.flush()
}

fn endure(base: &Arc<dyn Disk>, structures: &[Range<u64>]) {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let mut random = Random(CLOCK.unsigned_abs());
    let (mut opened, cases) = (0, cases.unwrap_or(CASES));
    for case in 0..cases {
        let overlay = Arc::new(Overlay::new(Arc::clone(base)));
        damage(&*overlay, structures, &mut random);
        let started = Instant::now();
        opened += u32::from(use_up(overlay).is_ok());
        assert!(started.elapsed() < PATIENCE, "case {case} took {:?}", started.elapsed());
    }
    println!("{cases} file systems, {opened} of which could still be used");
}

/// Where ext4's structures are, but for inodes and directories: within the first blocks.
#[test]
fn damaged_ext4_is_endured() {
    let folder = tempfile::tempdir().expect("a folder");
    // Without checksums: with them, most damage ends at the first.
    let image = ext4_image(folder.path(), &["-O", "^metadata_csum,^has_journal", "-N", "1024"]);
    let base: Arc<dyn Disk> = Arc::new(Raw::open(&image).expect("the image opens"));
    let mut structures = vec![1024..2048, 4096..4160];
    let mut block = vec![0; 4096];
    for start in (0..base.size()).step_by(4096) {
        base.read_at(&mut block, start).expect("it reads");
        let is_directory = block[12..].starts_with(b".") || block[16..].starts_with(b"file-with");
        let is_inodes = block[..2] == [0xed, 0x41] || block[..2] == [0xa4, 0x81];
        if is_directory || is_inodes || block.starts_with(&[0x0a, 0xf3]) {
            structures.push(start..start + 4096);
        }
    }
    assert!(structures.len() > 20, "{structures:?}");
    endure(&base, &structures);
}

#[test]
fn damaged_fat_is_endured() {
    let folder = tempfile::tempdir().expect("a folder");
    for options in [&["-F", "32", "-s", "1"][..], &["-F", "16"]] {
        let image = fat_image(folder.path(), 40 << 20, options);
        let base: Arc<dyn Disk> = Arc::new(Raw::open(&image).expect("the image opens"));
        let overlay = Arc::new(Overlay::new(base));
        let mut tree = Namespace::new(open(Arc::clone(&overlay) as _, CLOCK).expect("it opens"));
        let attributes = Attributes { mode: 0o755, uid: 0, gid: 0 };
        for number in 0..8 {
            let directory = PathBuf::from(format!("/directory {number}"));
            tree.create_dir(&directory, attributes).expect("made");
            for file in 0..20 {
                let path = directory.join(format!("a file with a name {file}"));
                tree.write(&path, &[1; 3000], None).expect("written");
            }
        }
        tree.flush().expect("flushed");
        drop(tree);
        let base: Arc<dyn Disk> = overlay;
        let root = if options[1] == "32" { 645_000..700_000 } else { 80_000..200_000 };
        endure(&base, &[0..512, 16_384..24_576, 16_384..24_576, root]);
    }
}

#[test]
fn short_and_empty_disks_hold_nothing() {
    for length in [0, 1, 511, 512, 1080, 1082, 2048, 100_000] {
        for fill in [0, 0xff] {
            let disk = Arc::new(Memory::new(vec![fill; length]));
            assert!(open(disk, CLOCK).is_err(), "{length} bytes of {fill}");
        }
    }
    let mut ext4 = vec![0; 2048];
    ext4[1080..1082].copy_from_slice(&[0x53, 0xef]);
    assert!(open(Arc::new(Memory::new(ext4)), CLOCK).is_err());
}
