//! The changes of an edit that has happened, beside the image until all of them are in it.
//!
//! The file holds each changed cluster where it lies on the disk, and after the last one, in the
//! *seal*, which clusters they are: numbers are little-endian.
//!
//! | bytes | |
//! |---|---|
//! | 16 | `nodeforge edit 1` |
//! | 8 | size of the image in bytes |
//! | 8 | how many clusters |
//! | 8 | how many of them, the last ones, must be written after all others are durable |
//! | per cluster: 8 | its index |
//! | per cluster: 128 × 8 | of each of its sectors as they were, the beginning of the SHA-256 |
//! | 32 | SHA-256 of all of the above, and then of each cluster |
//!
//! A file without a whole seal is what remains of an edit that never happened.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::Digest as _;

use crate::disk::{CLUSTER, Disk, Raw, Shadow, open_regular};
use crate::image::Part;
use crate::image::read_only::ReadOnly;
use crate::util::error::{Context, Error, Result};
use crate::util::new_files;
use crate::util::sha256::Sha256;

const MAGIC: [u8; 16] = *b"nodeforge edit 1";
const HEADER: usize = 40;
/// What a power cut leaves either old or new, on every drive.
const SECTOR: usize = 512;
const SECTORS: usize = 128;
const PRINT: usize = 8;
const RECORD: usize = 8 + SECTORS * PRINT;
const CLUSTER_BYTES: usize = SECTOR * SECTORS;

/// In which order clusters are written.
pub(super) struct Order {
    indexes: Vec<u64>,
    /// As many at the end of `indexes` begin a file system.
    late: usize,
}

impl Order {
    /// The beginnings of `parts`, with their superblocks, go last.
    pub(super) fn new(changed: &[u64], parts: &[Part]) -> Self {
        const SUPERBLOCK_END: u64 = 2048;
        let begins = |index: &u64| {
            parts.iter().any(|part| {
                let start = part.range.start;
                (start / CLUSTER..=(start + SUPERBLOCK_END - 1) / CLUSTER).contains(index)
            })
        };
        let (late, mut indexes): (Vec<u64>, Vec<u64>) = changed.iter().partition(|it| begins(it));
        indexes.extend(&late);
        Self { indexes, late: late.len() }
    }

    /// The clusters in this order.
    #[cfg(test)]
    pub(super) fn indexes(&self) -> &[u64] {
        &self.indexes
    }

    /// Writes the clusters of `from` to the image; returns how many bytes those are.
    pub(super) fn carry_over(&self, from: &File, to: &Raw) -> io::Result<u64> {
        let (early, late) = self.indexes.split_at(self.indexes.len() - self.late);
        let mut cluster = vec![0; CLUSTER_BYTES];
        let mut bytes = 0;
        for indexes in [early, late] {
            for &index in indexes {
                let start = index * CLUSTER;
                let length = inside(index, to.size());
                from.read_exact_at(&mut cluster, start)?;
                to.write_at(&cluster[..length], start)?;
                bytes += length as u64;
            }
            to.sync()?;
        }
        Ok(bytes)
    }
}

/// How many bytes of a cluster are on the disk.
fn inside(index: u64, size: u64) -> usize {
    let length = size.saturating_sub(index * CLUSTER).min(CLUSTER);
    usize::try_from(length).expect("at most a cluster")
}

/// Fills the holes that will be written to: an image that cannot hold its changes is not begun.
#[cfg(target_os = "linux")]
pub(super) fn make_room(image: &File, changed: &[u64], size: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;

    for &index in changed {
        let length = inside(index, size) as u64;
        match fallocate(image, FallocateFlags::KEEP_SIZE, index * CLUSTER, length) {
            Ok(()) => {}
            // A device, or a file system that cannot promise room.
            Err(Errno::OPNOTSUPP | Errno::NODEV | Errno::NOSYS) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "on Linux it can fail")]
pub(super) fn make_room(_image: &File, _changed: &[u64], _size: u64) -> io::Result<()> {
    Ok(())
}

/// The file beside an image where an edit collects its changes; removed when it is dropped.
pub(super) struct Journal {
    path: PathBuf,
    sealed: bool,
}

impl Journal {
    /// Makes the file, empty. What an edit that never happened has left is replaced.
    pub(super) fn create(image: &Path) -> Result<(Self, File)> {
        let path = path_of(image);
        let create = || {
            remove(&path)?;
            // As private as an image of a node: it holds the node's keys as well.
            File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)
        };
        let file = create().context(|| format!("collecting changes in `{}`", path.display()))?;
        // Whoever is left with it finishes the edit.
        new_files::give(&file);
        Ok((Self { path, sealed: false }, file))
    }

    /// Makes the edit happen: after this, its changes outlive everything but their file.
    pub(super) fn seal(mut self, order: &Order, shadow: &Shadow) -> Result<Self> {
        let seal = || -> io::Result<()> {
            let seal = seal_of(order, shadow)?;
            shadow.file().write_all_at(&seal, shadow.size().next_multiple_of(CLUSTER))?;
            shadow.file().sync_all()?;
            sync_folder(&self.path)
        };
        seal().context(|| format!("writing the journal `{}`", self.path.display()))?;
        self.sealed = true;
        Ok(self)
    }

    /// All is carried over.
    pub(super) fn remove(self) -> Result<()> {
        fs::remove_file(&self.path)
            .and_then(|()| sync_folder(&self.path))
            .context(|| format!("removing the journal `{}`", self.path.display()))
    }
}

/// A sealed journal stays until it is carried over.
impl Drop for Journal {
    fn drop(&mut self) {
        if !self.sealed {
            // The next edit of the image removes what could not be removed now.
            drop(remove(&self.path));
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_folder(file: &Path) -> io::Result<()> {
    File::open(file.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// `.node1.img.nodeforge-edit` beside `node1.img`.
fn path_of(image: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(image.file_name().unwrap_or_default());
    name.push(".nodeforge-edit");
    image.with_file_name(name)
}

fn seal_of(order: &Order, shadow: &Shadow) -> io::Result<Vec<u8>> {
    let mut seal = Vec::with_capacity(HEADER + order.indexes.len() * RECORD + 32);
    seal.extend(MAGIC);
    for number in [shadow.size(), order.indexes.len() as u64, order.late as u64] {
        seal.extend(number.to_le_bytes());
    }
    let mut cluster = vec![0; CLUSTER_BYTES];
    for &index in &order.indexes {
        read_cluster(&**shadow.base(), index, &mut cluster)?;
        seal.extend(index.to_le_bytes());
        seal.extend(cluster.chunks_exact(SECTOR).flat_map(print));
    }
    let hash = hash_of(&seal, &order.indexes, shadow.file())?;
    seal.extend(hash.bytes());
    Ok(seal)
}

fn hash_of(seal: &[u8], indexes: &[u64], file: &File) -> io::Result<Sha256> {
    let mut hash = sha2::Sha256::new();
    hash.update(seal);
    let mut cluster = vec![0; CLUSTER_BYTES];
    for index in indexes {
        file.read_exact_at(&mut cluster, index * CLUSTER)?;
        hash.update(&cluster);
    }
    Ok(Sha256::finish(hash))
}

fn print(sector: &[u8]) -> [u8; PRINT] {
    *Sha256::of(sector).bytes().first_chunk().expect("a hash is longer")
}

fn read_cluster(disk: &dyn Disk, index: u64, buffer: &mut [u8]) -> io::Result<()> {
    let length = inside(index, disk.size());
    buffer[length..].fill(0);
    disk.read_at(&mut buffer[..length], index * CLUSTER)
}

/// A journal found beside an image, with a whole seal.
struct FoundJournal {
    path: PathBuf,
    file: File,
    order: Order,
    /// Per cluster, in the same order.
    prints: Vec<Vec<u8>>,
}

/// The journal of an edit that happened; `None` when there is none, or none that did.
fn find(image: &Path, size: u64) -> Result<Option<FoundJournal>> {
    let path = path_of(image);
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        _ => {}
    }
    let file = open_regular(&path)?;
    let read = read_seal(&file, size);
    let seal = read.context(|| format!("reading the journal `{}`", path.display()))?;
    Ok(seal.map(|(order, prints)| FoundJournal { path, file, order, prints }))
}

fn read_seal(file: &File, size: u64) -> io::Result<Option<(Order, Vec<Vec<u8>>)>> {
    let start = size.next_multiple_of(CLUSTER);
    let length = file.metadata()?.len().saturating_sub(start);
    let mut header = [0; HEADER];
    if length < HEADER as u64 {
        return Ok(None);
    }
    file.read_exact_at(&mut header, start)?;
    let number =
        |at: usize| u64::from_le_bytes(*header[at..].first_chunk().expect("inside the header"));
    let (count, late) = (number(24), number(32));
    // A count beyond the disk's clusters, or the file's end, is not a count.
    let whole = count.saturating_mul(RECORD as u64).saturating_add(HEADER as u64 + 32);
    let sound = header[..16] == MAGIC && number(16) == size && late <= count;
    if !sound || count > size.div_ceil(CLUSTER) || whole != length {
        return Ok(None);
    }
    let Ok(whole) = usize::try_from(whole) else { return Ok(None) };
    let mut seal = vec![0; whole];
    file.read_exact_at(&mut seal, start)?;
    let (signed, hash) = seal.split_at(whole - 32);
    let records = signed[HEADER..].chunks_exact(RECORD);
    let (indexes, prints): (Vec<u64>, Vec<Vec<u8>>) = records
        .map(|record| {
            let (index, prints) = record.split_first_chunk().expect("a record is longer");
            (u64::from_le_bytes(*index), prints.to_vec())
        })
        .unzip();
    if indexes.iter().any(|index| *index >= size.div_ceil(CLUSTER)) {
        return Ok(None);
    }
    if hash_of(signed, &indexes, file)?.bytes() != hash {
        return Ok(None);
    }
    let late = usize::try_from(late).expect("no more than the clusters");
    Ok(Some((Order { indexes, late }, prints)))
}

impl FoundJournal {
    /// Refuses an image with a sector that is neither as it was nor as it will be: somebody else
    /// has changed it since, or put another in its place.
    fn check(&self, image: &Path, disk: &dyn Disk) -> Result<()> {
        let (mut there, mut new) = (vec![0; CLUSTER_BYTES], vec![0; CLUSTER_BYTES]);
        for (&index, prints) in self.order.indexes.iter().zip(&self.prints) {
            read_cluster(disk, index, &mut there)?;
            self.file.read_exact_at(&mut new, index * CLUSTER)?;
            let sectors = there.chunks_exact(SECTOR).zip(new.chunks_exact(SECTOR));
            let mut checked = sectors.zip(prints.chunks_exact(PRINT));
            if !checked.all(|((there, new), old)| there == new || print(there) == old) {
                let (image, journal) = (image.display(), self.path.display());
                return Err(Error::input(format!(
                    "`{image}` was changed after an edit of it was interrupted"
                ))
                .hint(format!("what is left of that edit is in `{journal}`: remove it, and the image is taken as it is")));
            }
        }
        Ok(())
    }
}

/// Whether there is a journal, or what is left of one.
pub(super) fn exists(image: &Path) -> bool {
    path_of(image).symlink_metadata().is_ok()
}

/// Carries over what an interrupted edit has left. The image must be locked.
pub(super) fn finish(image: &Path, raw: &Raw) -> Result<()> {
    let Some(found) = find(image, raw.size())? else { return Ok(()) };
    found.check(image, raw)?;
    found
        .order
        .carry_over(&found.file, raw)
        .context(|| format!("finishing an earlier edit of `{}`", image.display()))?;
    Journal { path: found.path, sealed: true }.remove()
}

/// The image as it will be once an interrupted edit is finished.
pub(super) fn look_through(image: &Path, disk: Arc<dyn Disk>) -> Result<Arc<dyn Disk>> {
    let image = image.canonicalize().context(|| format!("opening `{}`", image.display()))?;
    let Some(found) = find(&image, disk.size())? else { return Ok(disk) };
    found.check(&image, &*disk)?;
    let changed = BTreeSet::from_iter(found.order.indexes);
    let shadow = Shadow::with_changes(disk, found.file, changed);
    Ok(Arc::new(ReadOnly(Arc::new(shadow))))
}
