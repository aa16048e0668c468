//! Which bytes of a file system mean something, zeros or not: what must be written to a medium
//! that holds other things, even where the image has holes.

mod ext4;
mod fat;
mod ranges;

use std::io;
use std::ops::Range;

use crate::disk::Disk;
use crate::fs::probe::Kind;
pub(crate) use ranges::join;

/// The bytes in use by a file system, in ascending ranges. All of them where the kind, or one of
/// its features, is not known.
///
/// Of a damaged file system, the answer may be wrong; it is never out of the disk's bounds.
pub fn in_use(disk: &dyn Disk, kind: Kind) -> io::Result<Vec<Range<u64>>> {
    let found = match kind {
        Kind::Ext4 => ext4::in_use(disk)?,
        Kind::Fat => fat::in_use(disk)?,
        Kind::ExFat
        | Kind::Ntfs
        | Kind::Btrfs
        | Kind::Xfs
        | Kind::F2fs
        | Kind::Lvm
        | Kind::Luks
        | Kind::BitLocker
        | Kind::Raid
        | Kind::Bcache
        | Kind::Ext4Journal
        | Kind::Swap
        | Kind::Squashfs
        | Kind::Erofs
        | Kind::Iso9660
        | Kind::HfsPlus
        | Kind::Apfs
        | Kind::Bcachefs
        | Kind::Empty
        | Kind::Unknown => None,
    };
    let whole = 0..disk.size();
    let Some(ranges) = found else { return Ok(vec![whole]) };
    let inside = ranges.into_iter().map(|it| it.start.min(whole.end)..it.end.min(whole.end));
    Ok(join(inside.collect()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;

    use super::*;
    use crate::disk::Raw;
    use crate::disk::testing::tool;
    use crate::fs::{Namespace, Tree as _, open, probe};

    fn empty(path: &Path, size: u64) {
        File::create(path).expect("a file").set_len(size).expect("a size");
    }

    fn count(path: &Path) -> u64 {
        let disk = Raw::open(path).expect("opened");
        let ranges = in_use(&disk, probe(&disk).expect("probed")).expect("read");
        ranges.iter().map(|it| it.end - it.start).sum()
    }

    /// dumpe2fs counts free blocks; what else there is must be in use, but for inodes never used.
    #[test]
    fn ext4_counts_what_dumpe2fs_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ext4");
        for (size, options) in [(64 << 20, ""), (40 << 20, "^metadata_csum,^uninit_bg,^64bit")] {
            empty(&path, size);
            let image = path.to_str().expect("a plain name");
            tool(folder.path(), "mkfs.ext4", &["-q", "-F", "-b", "4096", "-O", options, image]);
            let said = tool(folder.path(), "dumpe2fs", &["-h", image]);
            let field = |name: &str| -> u64 {
                let line = said.lines().find_map(|line| line.strip_prefix(name)).expect("said");
                line.trim().parse().expect("a number")
            };
            let blocks = field("Block count:") - field("Free blocks:");
            let tables = field("Inode count:") * field("Inode size:");
            let used = count(&path);
            assert!(used <= blocks * 4096, "{used} of {blocks} blocks");
            assert!(used + tables >= blocks * 4096, "{used} of {blocks} blocks");
            if options.contains("metadata") {
                assert_eq!(used, blocks * 4096);
            }
        }
    }

    #[test]
    fn fat_counts_its_tables_and_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("fat");
        // The last is a FAT32 with as few clusters as a FAT16.
        for (bits, size, sectors) in
            [("16", 32 << 20, "1"), ("32", 64 << 20, "1"), ("32", 64 << 20, "2")]
        {
            empty(&path, size);
            let image = path.to_str().expect("a plain name");
            tool(folder.path(), "mkfs.fat", &["-F", bits, "-s", sectors, image]);
            let before = count(&path);
            assert!(before < 2 << 20, "{before}");
            std::fs::write(folder.path().join("zeros"), vec![0; 1 << 20]).expect("written");
            if sectors == "2" {
                // mtools takes it for a FAT16.
                let disk = std::sync::Arc::new(Raw::open_writable(&path).expect("opened"));
                let mut tree = Namespace::new(open(disk, 0).expect("a file system"));
                tree.write(Path::new("/zeros"), &vec![0; 1 << 20], None).expect("written");
                tree.flush().expect("flushed");
            } else {
                tool(folder.path(), "mcopy", &["-i", image, "zeros", "::/zeros"]);
            }
            assert_eq!(count(&path), before + (1 << 20));
        }
    }

    #[test]
    fn ranges_are_joined() {
        assert_eq!(join(vec![5..7, 0..2, 2..3, 6..6, 6..9]), [0..3, 5..9]);
    }
}
