//! FAT12, FAT16 and FAT32, through the crate hadris-fat.

mod check;
mod device;

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use super::volume::{Planned, Space, Volume, VolumeNode};
use super::{Attributes, Entry, FileType, Metadata};
use crate::disk::Disk;
use crate::fs::repair;
use crate::util::error::{Context, Error, Result};
pub(crate) use check::check;
use device::{FatDevice, FatError, explain};
use hadris_fat::sync::FatFs;
use hadris_fat::{CacheOptions, FatKind};
use hadris_fs::{DateTime, DirCursor, ErrorKind, MountOptions, Name, NodeId, SetAttr};

/// How much of a file is copied at once, in bytes.
const CHUNK: usize = 1 << 20;

/// A FAT file system. Names keep their case and are found in any.
pub struct Fat {
    // Even reading moves the crate's one buffer.
    fs: Mutex<FatFs<FatDevice>>,
    kind: FatKind,
    clock: DateTime,
    writable: bool,
    /// What mends it, for a hint.
    mending: String,
}

impl Fat {
    /// Opens the file system that fills `disk`; for writing when the disk can be written, and then
    /// only when it was unmounted cleanly and is sound. `clock`, in seconds since 1970, becomes the
    /// time of everything that is changed.
    pub fn open(disk: Arc<dyn Disk>, clock: i64) -> Result<Self> {
        let writable = disk.is_writable();
        let mending = repair::fsck_fat(&*disk);
        let options = MountOptions::new();
        let options = if writable { options } else { options.read_only() };
        let checked = writable.then(|| Arc::clone(&disk));
        let fs = FatFs::mount(FatDevice(disk), options)
            .map_err(|error| explain(error.into_error(), &mending))
            .context(|| "opening the FAT file system")?
            .with_cache(CacheOptions::new());
        if writable && fs.was_dirty() {
            return Err(Error::input("the FAT file system was not unmounted cleanly")
                .hint(format!("{mending} first")));
        }
        checked.as_ref().map_or(Ok(()), check)?;
        let kind = fs.info().kind();
        let clock = DateTime::from_unix_seconds(clock)
            .map_err(|_| Error::input("the clock is out of range"))?;
        Ok(Self { fs: Mutex::new(fs), kind, clock, writable, mending })
    }

    fn fs(&self) -> MutexGuard<'_, FatFs<FatDevice>> {
        self.fs.lock().expect("no reader panicked")
    }

    fn changing(&mut self) -> &mut FatFs<FatDevice> {
        self.fs.get_mut().expect("no reader panicked")
    }

    fn explain(&self, error: FatError) -> Error {
        explain(error, &self.mending)
    }

    fn times(&self) -> SetAttr {
        SetAttr::new().with_created(self.clock).with_modified(self.clock).with_accessed(self.clock)
    }
}

/// The next place in a directory from which it can be read on, behind a name that cannot be read at
/// or after `slot`; `None` when it is not only a name that is damaged.
fn after_bad_name(fs: &mut FatFs<FatDevice>, directory: NodeId, slot: u64) -> Option<DirCursor> {
    // A name has up to twenty slots before its own.
    (slot + 1..=slot + 64)
        .map(DirCursor::from_raw)
        .find(|cursor| fs.readdir(directory, *cursor).is_ok())
}

fn id(node: VolumeNode) -> Result<NodeId> {
    NodeId::new(node).ok_or_else(|| Error::failure("its name is damaged"))
}

fn refused<T>(what: &str) -> Result<T> {
    Err(Error::input(format!("FAT has no {what}")))
}

fn entry_type(file_type: hadris_fs::FileType) -> FileType {
    if file_type.is_dir() { FileType::Directory } else { FileType::File }
}

impl Volume for Fat {
    fn kind(&self) -> &'static str {
        match self.kind {
            FatKind::Fat12 => "FAT12",
            FatKind::Fat16 => "FAT16",
            FatKind::Fat32 => "FAT32",
            _ => "FAT",
        }
    }

    fn label(&self) -> Option<String> {
        let mut buffer = [0; 64];
        let label = self.fs().label(&mut buffer).ok()??.trim_end().to_owned();
        (!label.is_empty()).then_some(label)
    }

    fn uuid(&self) -> Option<String> {
        let serial = self.fs().volume_serial()?;
        Some(format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff))
    }

    fn is_writable(&self) -> bool {
        self.writable
    }

    fn has_owners(&self) -> bool {
        false
    }

    fn space(&self) -> Result<Space> {
        let stats = self.fs().statfs().map_err(|error| self.explain(error))?;
        Ok(Space {
            total: stats.total_bytes(),
            free: stats.free_bytes(),
            free_inodes: u64::MAX,
            block: u64::from(stats.block_size()),
        })
    }

    fn root(&self) -> VolumeNode {
        self.fs().root().get()
    }

    fn lookup(&self, directory: VolumeNode, name: &OsStr) -> Result<Option<VolumeNode>> {
        let mut fs = self.fs();
        match fs.lookup(id(directory)?, Name::from_bytes(name.as_bytes())) {
            Ok(node) => {
                // Ids stay good without a pin until their directory changes.
                fs.forget(node, 1);
                Ok(Some(node.get()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.explain(error)),
        }
    }

    fn metadata(&self, node: VolumeNode) -> Result<Metadata> {
        let found = self.fs().stat(id(node)?).map_err(|error| self.explain(error))?;
        let modified = found.modified().map_or((0, 0), |time| (time.unix_seconds(), 0));
        Ok(Metadata {
            file_type: entry_type(found.file_type()),
            size: found.len(),
            mode: found.permissions().bits(),
            uid: 0,
            gid: 0,
            modified,
            links: 1,
            inode: 0,
            device: (0, 0),
        })
    }

    fn allocated(&self, node: VolumeNode) -> Result<u64> {
        Ok(self.fs().stat(id(node)?).map_err(|error| self.explain(error))?.allocated())
    }

    fn read_dir(&self, directory: VolumeNode) -> Result<Vec<(Entry, VolumeNode)>> {
        let mut fs = self.fs();
        let mut entries = Vec::new();
        let mut cursor = DirCursor::START;
        loop {
            let found = match fs.readdir(id(directory)?, cursor) {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    // It is listed under a name that leads nowhere: whoever looks is told.
                    let slot = cursor.into_raw();
                    cursor = after_bad_name(&mut fs, id(directory)?, slot)
                        .ok_or(error)
                        .map_err(|error| self.explain(error))?;
                    let name = format!("\u{fffd}{slot}").into();
                    entries.push((Entry { name, file_type: FileType::File }, 0));
                    continue;
                }
                Err(error) => return Err(self.explain(error)),
            };
            cursor = found.next_cursor();
            let name = OsString::from_vec(found.name().as_bytes().to_vec());
            let file_type = entry_type(found.file_type());
            entries.push((Entry { name, file_type }, found.node().get()));
        }
        Ok(entries)
    }

    fn read_at(&self, node: VolumeNode, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut fs = self.fs();
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            match fs
                .read(id(node)?, at, &mut buffer[done..])
                .map_err(|error| self.explain(error))?
            {
                0 => break,
                read => done += read,
            }
        }
        Ok(done)
    }

    fn data_runs(&self, node: VolumeNode) -> Result<Vec<Range<u64>>> {
        let run = Some(0..self.metadata(node)?.size).filter(|run| !run.is_empty());
        Ok(run.into_iter().collect())
    }

    fn read_link(&self, _node: VolumeNode) -> Result<OsString> {
        refused("symlinks")
    }

    fn xattrs(&self, _node: VolumeNode) -> Result<Vec<(OsString, Vec<u8>)>> {
        Ok(Vec::new())
    }

    fn check(&self, planned: Planned<'_>) -> Result<()> {
        match planned {
            Planned::File(size) if size > u64::from(u32::MAX) => {
                Err(Error::input("FAT holds no files of 4 GiB or more"))
            }
            Planned::File(_) => Ok(()),
            Planned::Symlink(_) => refused("symlinks"),
            Planned::Link => refused("hard links"),
            Planned::Special(_) => refused("devices, pipes or sockets"),
        }
    }

    fn create_file(
        &mut self,
        directory: VolumeNode,
        name: &OsStr,
        _attributes: Attributes,
    ) -> Result<VolumeNode> {
        let times = self.times();
        let node = self
            .changing()
            .create(id(directory)?, Name::from_bytes(name.as_bytes()), &times)
            .map_err(|error| self.explain(error))?;
        self.changing().forget(node, 1);
        Ok(node.get())
    }

    fn create_dir(
        &mut self,
        directory: VolumeNode,
        name: &OsStr,
        _attributes: Attributes,
    ) -> Result<VolumeNode> {
        let times = self.times();
        let node = self
            .changing()
            .mkdir(id(directory)?, Name::from_bytes(name.as_bytes()), &times)
            .map_err(|error| self.explain(error))?;
        self.changing().forget(node, 1);
        Ok(node.get())
    }

    fn create_symlink(
        &mut self,
        _directory: VolumeNode,
        _name: &OsStr,
        _target: &OsStr,
    ) -> Result<VolumeNode> {
        refused("symlinks")
    }

    fn create_special(
        &mut self,
        _directory: VolumeNode,
        _name: &OsStr,
        _file_type: FileType,
        _device: (u32, u32),
        _attributes: Attributes,
    ) -> Result<VolumeNode> {
        refused("devices, pipes or sockets")
    }

    fn link(&mut self, _node: VolumeNode, _directory: VolumeNode, _name: &OsStr) -> Result<()> {
        refused("hard links")
    }

    fn unlink(&mut self, directory: VolumeNode, name: &OsStr) -> Result<()> {
        let directory = id(directory)?;
        self.changing()
            .unlink(directory, Name::from_bytes(name.as_bytes()))
            .map_err(|error| self.explain(error))
    }

    fn remove_dir(&mut self, directory: VolumeNode, name: &OsStr) -> Result<()> {
        let directory = id(directory)?;
        self.changing()
            .rmdir(directory, Name::from_bytes(name.as_bytes()))
            .map_err(|error| self.explain(error))
    }

    fn replace_content(
        &mut self,
        node: VolumeNode,
        content: &mut dyn Read,
        size: u64,
    ) -> Result<()> {
        let node = id(node)?;
        let modified = SetAttr::new().with_modified(self.clock);
        self.changing().truncate(node, 0).map_err(|error| self.explain(error))?;
        let mut buffer = vec![0; usize::try_from(size).unwrap_or(CHUNK).min(CHUNK)];
        let mut offset = 0;
        while offset < size {
            let length = usize::try_from(size - offset).unwrap_or(CHUNK).min(CHUNK);
            content.read_exact(&mut buffer[..length])?;
            let written = self
                .changing()
                .write(node, offset, &buffer[..length])
                .map_err(|error| self.explain(error))?;
            debug_assert_eq!(written, length, "short writes happen only at 4 GiB");
            offset += length as u64;
        }
        self.changing().setattr(node, &modified).map_err(|error| self.explain(error))
    }

    fn set_attributes(&mut self, _node: VolumeNode, _attributes: Attributes) -> Result<()> {
        Ok(())
    }

    fn set_modified(&mut self, node: VolumeNode, (seconds, _): (i64, u32)) -> Result<()> {
        let time = DateTime::from_unix_seconds(seconds)
            .map_err(|_| Error::input("the time is out of range"))?;
        let node = id(node)?;
        self.changing()
            .setattr(node, &SetAttr::new().with_modified(time))
            .map_err(|error| self.explain(error))
    }

    fn set_xattr(&mut self, _path: &Path, _name: &str, _value: Option<&[u8]>) -> Result<()> {
        refused("extended attributes")
    }

    fn flush(&mut self) -> Result<()> {
        self.changing().sync().map_err(|error| self.explain(error))
    }
}
