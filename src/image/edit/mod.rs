//! Changing an image in place, all or nothing.
//!
//! Changes are collected beside the image. Once they are read back and the file systems' own checkers
//! are content, the collection is sealed into a *journal*, synced, and only then carried over into
//! the image. Until the seal, nothing of the image has been touched. After it the edit has happened:
//! whatever interrupts the carrying over (a power cut, `kill -9`, a full disk), every command of
//! nodeforge reads the image through its journal, and the next edit finishes the carrying over before
//! it begins. Other programs, which know no journal, could see the image half changed in that window;
//! they find the beginning of each file system, its superblock, changed last.
//!
//! A block device has no place for a journal beside it. There the window is a real one: after
//! a power cut in it, its file systems need their checkers.

mod journal;
mod lock;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{self, CLUSTER, Disk, Format, Raw, Scratch, Shadow};
use crate::image::Image;
use crate::image::fsck::FsckPolicy;
use crate::image::read_only::ReadOnly;
use crate::util::error::{Context, Error, Result};
use crate::util::interrupt;
use crate::util::room::{self, FolderUse};
use journal::Journal;

/// An image that is being changed. Dropped without [`Edit::commit`], it is as it was.
pub struct Edit {
    image: Image,
    shadow: Arc<Shadow>,
    target: EditTarget,
}

/// What the changes will be carried over into.
struct EditTarget {
    path: PathBuf,
    /// `None` for a block device. Removed before the lock goes with `raw`: the next edit's journal has
    /// the same name.
    journal: Option<Journal>,
    raw: Arc<Raw>,
    /// Kept open for as long as no other program may use it.
    _claim: lock::Claim,
}

/// Opens an image of any format for reading. One whose edit was interrupted reads as it will be once
/// that edit is finished. `backing` is as in [`disk::open_over`].
pub fn open_to_read(path: &Path, backing: &[PathBuf]) -> Result<Arc<dyn Disk>> {
    let disk = disk::open_over(path, backing)?;
    if disk::probe(path)? != Format::Raw {
        return Ok(disk);
    }
    journal::look_through(path, disk)
}

/// Whether an edit of a raw image was interrupted and has something left to do.
pub fn is_pending(path: &Path) -> bool {
    path.canonicalize().is_ok_and(|path| journal::exists(&path))
}

/// Carries over what an interrupted edit of an image has left to do, for those who know no journal.
pub fn finish(path: &Path) -> Result<()> {
    if disk::probe(path)? != Format::Raw {
        return Ok(());
    }
    let path = path.canonicalize().context(|| format!("opening `{}`", path.display()))?;
    if !journal::exists(&path) {
        return Ok(());
    }
    let raw = disk::open_writable(&path)?;
    let _claim = lock::claim(&path, raw.file())?;
    journal::finish(&path, &raw)
}

impl Edit {
    /// Opens an image or a block device, and keeps every other nodeforge from changing it meanwhile.
    /// What an interrupted edit has left to do is done first.
    ///
    /// Compressed images, qcow2 and VMDK are refused, as is what a virtual machine or a mount uses.
    /// `clock`, in seconds since 1970, becomes the time of everything that is changed. With a `partition`,
    /// only that one's files are there.
    pub fn open(path: &Path, partition: Option<u32>, clock: i64) -> Result<Self> {
        let path = path.canonicalize().context(|| format!("opening `{}`", path.display()))?;
        let raw = Arc::new(disk::open_writable(&path)?);
        let claim = lock::claim(&path, raw.file())?;
        let is_device = disk::probe(&path)? == Format::Device;
        let (journal, file) = if is_device {
            let folder = Scratch::default().folder;
            let file = tempfile::tempfile_in(&folder)
                .context(|| format!("making a temporary file in `{}`", folder.display()))?;
            (None, file)
        } else {
            journal::finish(&path, &raw)?;
            let (journal, file) = Journal::create(&path)?;
            (Some(journal), file)
        };
        let target = EditTarget { path, journal, raw, _claim: claim };
        let base = Arc::new(ReadOnly(Arc::clone(&target.raw) as Arc<dyn Disk>));
        let shadow = Arc::new(Shadow::new(base, file)?);
        let disk = Arc::clone(&shadow) as Arc<dyn Disk>;
        let image = match partition {
            Some(number) => Image::open_partition(disk, clock, number)?,
            None => Image::open(disk, clock)?,
        };
        Ok(Self { image, shadow, target })
    }

    /// The image as it will be.
    pub fn image(&mut self) -> &mut Image {
        &mut self.image
    }

    /// An error of a change, with what there is to say when there was no room to collect it. The image's own file
    /// system can be full as well.
    #[must_use]
    pub fn explain(&self, error: Error) -> Error {
        let (folder, place) = room_of(&self.target.path, self.target.journal.is_some());
        room::explain(error, &folder, place, None)
    }

    /// The clusters that changed, when all of it is as it should be.
    fn check(&mut self, fsck: FsckPolicy) -> Result<Vec<u64>> {
        self.image.verify()?;
        let changed = self.shadow.differing()?;
        if !changed.is_empty() {
            let before = Arc::clone(&self.target.raw) as Arc<dyn Disk>;
            self.image.fsck_before(fsck, &before)?;
            self.image.fsck(fsck, &before)?;
        }
        Ok(changed)
    }

    /// Checks what was done, and carries it over. Returns how many bytes of the image changed.
    ///
    /// An error leaves the image as it was, except one while carrying over: that says so.
    pub fn commit(mut self, fsck: FsckPolicy) -> Result<u64> {
        let changed = match self.check(fsck) {
            Ok(changed) => changed,
            Err(error) => return Err(self.explain(error)),
        };
        if changed.is_empty() {
            return Ok(0);
        }
        // From here on there is no way back, only forward.
        interrupt::check()?;
        let order = journal::Order::new(&changed, self.image.parts());
        let EditTarget { path, journal, raw, _claim } = self.target;
        journal::make_room(raw.file(), &changed, raw.size())
            .context(|| format!("making room in `{}`", path.display()))
            .map_err(|error| {
                let (folder, place) = room_of(&path, true);
                room::explain(error, &folder, place, Some(changed.len() as u64 * CLUSTER))
            })?;
        let Some(journal) = journal else {
            return order
                .carry_over(self.shadow.file(), &raw)
                .map_err(Error::from)
                .context(|| format!("writing to `{}`", path.display()))
                .map_err(|error| error.hint("its file systems may be damaged: check them"));
        };
        let (folder, place) = room_of(&path, true);
        let sealed = journal
            .seal(&order, &self.shadow)
            .map_err(|error| room::explain(error, &folder, place, None))?;
        let bytes = order
            .carry_over(self.shadow.file(), &raw)
            .map_err(Error::from)
            .context(|| format!("writing to `{}`", path.display()))
            .map_err(|error| error.hint("the next command that changes it finishes this edit"))?;
        sealed.remove()?;
        Ok(bytes)
    }
}

/// The folder in which changes of an image are collected.
fn room_of(image: &Path, has_journal: bool) -> (PathBuf, FolderUse) {
    if has_journal {
        (image.parent().unwrap_or(Path::new("/")).to_owned(), FolderUse::Image)
    } else {
        (Scratch::default().folder, FolderUse::Scratch)
    }
}
