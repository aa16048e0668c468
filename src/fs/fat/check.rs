//! Whether a FAT file system agrees with itself, told before it is changed.
//!
//! FAT has no checksums and no journal. A chain that leads into a free cluster loses its file to the
//! next one that is written; of two files that share clusters, removing one destroys the other.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use hadris_fat::Detail;
use hadris_fs::Location;

use super::device::{FatDevice, explain};
use crate::disk::Disk;
use crate::fs::repair;
use crate::util::error::{Error, Result};

/// The checker keeps a path in so many bytes, and a bit for each cluster in the others.
const PATH: u64 = 1024;
/// The most and the least bytes of those bits. A file system with more clusters is walked several
/// times.
const BITS: (u64, u64) = (8 << 20, 512);
/// The smallest cluster, in bytes.
const CLUSTER: u64 = 512;

/// Walks every directory and every chain of clusters. `Err` names the first thing with which a change
/// would do damage; what fsck.fat(8) would only tidy up is left to it.
pub(crate) fn check(disk: &Arc<dyn Disk>) -> Result<()> {
    let bits = (disk.size() / CLUSTER / 8).clamp(BITS.1, BITS.0);
    let mut scratch = vec![0; usize::try_from(PATH + bits).map_err(io::Error::other)?];
    let mut damage = ControlFlow::Continue(());
    let mut device = FatDevice(Arc::clone(disk));
    hadris_fat::sync::check(&mut device, &mut scratch, |finding| {
        let detail = Detail::from_code(finding.detail());
        if damage.is_continue() && detail.is_some_and(is_dangerous) {
            let place = finding.path().map(|path| format!("`{}`: ", path.escape_ascii()));
            let cluster = match finding.location() {
                Some(Location::Cluster(cluster)) => format!(" (cluster {cluster})"),
                _ => String::new(),
            };
            let place = place.unwrap_or_default();
            damage = ControlFlow::Break(format!("{place}{}{cluster}", finding.message()));
        }
    })
    .map_err(|error| explain(error, &repair::fsck_fat(&**disk)))?;
    match damage {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(what) => {
            Err(Error::failure(format!("the FAT file system is damaged: {what}"))
                .hint(format!("{}, or start from a fresh image", repair::fsck_fat(&**disk))))
        }
    }
}

/// Whether files are lost, or overwrite each other, when something else is written.
fn is_dangerous(detail: Detail) -> bool {
    matches!(
        detail,
        Detail::FatCopiesDiffer
            | Detail::InvalidCluster
            | Detail::BrokenChain
            | Detail::CyclicChain
            | Detail::SizeMismatch
            | Detail::CrossLink
            | Detail::DotEntries
            | Detail::BadCluster
    )
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt as _;
    use std::path::Path;

    use super::*;
    use crate::disk::Raw;
    use crate::disk::testing::{tool, try_tool};
    use crate::fs::testing::fat_image;

    /// Where things are in an image with sectors of 512 bytes: its tables, their size, how many there
    /// are, its root directory, its first cluster, the size of a cluster.
    struct Places {
        tables: u64,
        table: u64,
        copies: u64,
        root: u64,
        bits: u32,
    }

    impl Places {
        fn of(image: &Path) -> Self {
            let boot = fs::read(image).expect("the image");
            let short = |at: usize| u64::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
            let (reserved, copies) = (short(14), u64::from(boot[16]));
            let is_fat32 = short(22) == 0;
            let sectors = if is_fat32 { short(36) } else { short(22) };
            let (tables, table) = (reserved * 512, sectors * 512);
            let bits = if is_fat32 { 32 } else { 16 };
            Self { tables, table, copies, root: tables + copies * table, bits }
        }

        /// Sets an entry in every copy of the table.
        fn link(&self, image: &File, cluster: u64, to: u32) {
            for copy in 0..self.copies {
                let at = self.tables + copy * self.table + cluster * u64::from(self.bits / 8);
                let bytes = to.to_le_bytes();
                image.write_all_at(&bytes[..self.bits as usize / 8], at).expect("written");
            }
        }

        /// The bytes of an entry of the root directory, by its name on the disk.
        fn entry(&self, image: &File, name: &[u8; 11]) -> u64 {
            let mut directory = vec![0; 4096];
            image.read_exact_at(&mut directory, self.root).expect("read");
            let index = directory.chunks(32).position(|entry| entry.starts_with(name));
            self.root + 32 * index.expect("it is there") as u64
        }
    }

    fn verdict(image: &Path) -> Result<()> {
        let disk: Arc<dyn Disk> = Arc::new(Raw::open(image).expect("opened"));
        check(&disk)
    }

    /// Files `A.TXT` and `B.BIN` of one and of three clusters, a folder `D` with a file. Then damage,
    /// which both this and fsck.fat must see.
    fn damaged(options: &[&str], damage: impl Fn(&Places, &File), expected: &str) {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path();
        let image = fat_image(at, 64 << 20, options);
        fs::write(at.join("a"), "hello").expect("written");
        fs::write(at.join("b"), vec![7; 3 * 2048]).expect("written");
        tool(at, "mcopy", &["-i", "image.vfat", "a", "::/A.TXT"]);
        tool(at, "mcopy", &["-i", "image.vfat", "b", "::/B.BIN"]);
        tool(at, "mmd", &["-i", "image.vfat", "::/D"]);
        tool(at, "mcopy", &["-i", "image.vfat", "a", "::/D/C.TXT"]);
        assert!(try_tool(at, "fsck.fat", &["-n", "image.vfat"]).0);
        verdict(&image).expect("it is sound");

        let file = File::options().read(true).write(true).open(&image).expect("opened");
        damage(&Places::of(&image), &file);
        drop(file);
        assert!(!try_tool(at, "fsck.fat", &["-n", "image.vfat"]).0, "{expected}");
        let error = verdict(&image).expect_err(expected);
        let path = image.display();
        assert_eq!(error.to_string(), format!("the FAT file system is damaged: {expected}"));
        assert_eq!(
            error.problems()[0].hints,
            [format!("run `fsck.fat -a {path}`, or start from a fresh image")]
        );
        // What is said to do mends it.
        assert!(try_tool(at, "fsck.fat", &["-a", "image.vfat"]).0 || verdict(&image).is_ok());
        verdict(&image).expect("it is mended");
    }

    const FAT16: &[&str] = &["-F", "16", "-s", "4"];
    const FAT32: &[&str] = &["-F", "32", "-s", "1"];

    #[test]
    fn damage_is_what_fsck_fat_calls_so() {
        let start = |places: &Places, file: &File, name: &[u8; 11], cluster: u16| {
            let at = places.entry(file, name);
            file.write_all_at(&cluster.to_le_bytes(), at + 26).expect("written");
        };
        damaged(
            FAT16,
            |places, file| start(places, file, b"A       TXT", 1024),
            "`/A.TXT`: chain links to a free, reserved or out-of-range cluster (cluster 1024)",
        );
        damaged(
            FAT16,
            |places, file| start(places, file, b"A       TXT", 5),
            "`/B.BIN`: cluster is in more than one chain (cluster 5)",
        );
        damaged(
            FAT16,
            |places, file| places.link(file, 5, 3),
            "`/B.BIN`: chain links back to itself (cluster 5)",
        );
        damaged(
            FAT16,
            |places, file| places.link(file, 4, 0xffff),
            "`/B.BIN`: chain is shorter than the file size needs",
        );
        damaged(
            FAT32,
            |places, file| start(places, file, b"A       TXT", 2),
            "`/A.TXT`: chain starts at an invalid cluster (cluster 2)",
        );
        damaged(
            FAT32,
            |places, file| {
                let at = places.tables + places.table + 4 * 5;
                file.write_all_at(&[0; 4], at).expect("written");
            },
            "FAT copies differ (cluster 5)",
        );
    }
}
