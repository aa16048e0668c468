//! ext4, through the crate rust-fs-ext4.

mod blocks;
mod content;
mod counts;
mod device;
mod directory;
mod error;
mod extents;
mod guard;
mod indirect;
mod known;
mod reading;
mod runs;
mod times;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use fs_ext4::dir::DirEntryType;
use fs_ext4::fs::{Filesystem, UTIME_OMIT};
use fs_ext4::inode::{self, Inode};
use fs_ext4::{file_io, xattr};

use crate::disk::Disk;
use crate::fs::volume::{Planned, Space, Volume, VolumeNode};
use crate::fs::{Attributes, Entry, FileType, Metadata, acl};
use crate::util::error::{Context, Error, Result};
use device::{Ext4Device, FixedRuntime};
use directory::{Directories, Directory};
use error::{Ext4Fault, damaged, explain};
use runs::BlockRun;

/// The root directory's inode, the same on every ext4.
const ROOT: VolumeNode = 2;

/// How much of a file is copied at once, in bytes.
const CHUNK: usize = 1 << 20;

/// How many inodes are kept at most: a directory, its parents and some files.
const REMEMBERED: usize = 64;

/// An ext4 file system.
///
/// Changes go straight to their blocks, past the journal: it would hold a second copy of every
/// byte, secrets included, and would have to travel with every node's delta. Who needs all or
/// nothing writes through an [`crate::disk::Overlay`].
pub struct Ext4 {
    disk: Arc<dyn Disk>,
    runtime: Arc<FixedRuntime>,
    // `None` only after a flush that failed: nothing is known of the disk then.
    mounted: Option<Filesystem>,
    /// Inodes read lately: programs ask several things of one file, and of its directory, in a row.
    recent: Mutex<HashMap<u32, Arc<LoadedInode>>>,
    directories: Mutex<Directories>,
    /// Whether the superblock's counts are known to be right, as a change needs them.
    is_settled: bool,
}

struct LoadedInode {
    inode: Inode,
    raw: Vec<u8>,
    /// Where its blocks lie, once somebody asked.
    blocks: OnceLock<Vec<BlockRun>>,
}

impl Ext4 {
    /// Opens the file system that fills `disk`; for writing when the disk can be written, and then
    /// only when it is clean and has no feature that would be left inconsistent. `clock`, in
    /// seconds since 1970, becomes the time of everything that is changed.
    ///
    /// Read-only, a dirty journal is replayed in memory and the disk is never written.
    pub fn open(disk: Arc<dyn Disk>, clock: i64) -> Result<Self> {
        guard::check(&*disk)?;
        let runtime = Arc::new(FixedRuntime::new(clock));
        let mounted = mount(&disk, &runtime)?;
        Ok(Self {
            disk,
            runtime,
            mounted: Some(mounted),
            recent: Mutex::default(),
            directories: Mutex::default(),
            is_settled: false,
        })
    }

    /// Refuses a file system that could be read and not changed, whatever state it is in.
    pub fn check_changeable(disk: &dyn Disk) -> Result<()> {
        guard::check_features(disk, true)
    }

    /// What it is called: `ext2`, `ext3` or `ext4`.
    pub fn flavor(disk: &dyn Disk) -> &'static str {
        guard::flavor(disk)
    }

    /// Label and UUID, as far as the superblock can be read; of a file system that cannot be opened.
    pub fn identity(disk: &dyn Disk) -> (Option<String>, Option<String>) {
        guard::identity(disk)
    }

    fn fs(&self) -> Result<&Filesystem> {
        self.mounted
            .as_ref()
            .ok_or_else(|| Error::failure("the file system was closed after an earlier error"))
    }

    fn explain(&self, fault: impl Into<Ext4Fault>) -> Error {
        explain(fault, &*self.disk)
    }

    /// The file system for a change, which outdates what was remembered.
    fn changing(&mut self) -> Result<&Filesystem> {
        self.recent.get_mut().expect("no reader panicked").clear();
        if !self.is_settled {
            if counts::settle(self.fs()?, &*self.disk).map_err(|fault| self.explain(fault))? {
                self.mounted = Some(mount(&self.disk, &self.runtime)?);
            }
            self.is_settled = true;
        }
        self.fs()
    }

    fn load(&self, node: VolumeNode) -> Result<Arc<LoadedInode>> {
        let number = inode_number(node)?;
        let mut recent = self.recent.lock().expect("no reader panicked");
        if let Some(loaded) = recent.get(&number) {
            return Ok(Arc::clone(loaded));
        }
        let (inode, raw) =
            self.fs()?.read_inode_verified(number).map_err(|fault| self.explain(fault))?;
        let loaded = Arc::new(LoadedInode { inode, raw, blocks: OnceLock::new() });
        if recent.len() >= REMEMBERED {
            recent.clear();
        }
        recent.insert(number, Arc::clone(&loaded));
        Ok(loaded)
    }

    fn claim(&self, number: u32, attributes: Attributes) -> Result<VolumeNode> {
        let fs = self.fs()?;
        if (attributes.uid, attributes.gid) != (0, 0) {
            fs.apply_chown_ino(number, attributes.uid, attributes.gid)
                .map_err(|fault| self.explain(fault))?;
        }
        Ok(VolumeNode::from(number))
    }
}

fn mount(disk: &Arc<dyn Disk>, runtime: &Arc<FixedRuntime>) -> Result<Filesystem> {
    let device = Arc::new(Ext4Device(Arc::clone(disk)));
    let mut fs = Filesystem::mount_with_runtime(device, Arc::clone(runtime) as _)
        .map_err(|fault| explain(fault, &**disk))
        .context(|| "opening the ext4 file system")?;
    fs.journal = None;
    Ok(fs)
}

fn inode_number(node: VolumeNode) -> Result<u32> {
    u32::try_from(node).map_err(|_| Error::failure("an inode number is out of range"))
}

fn mode_bits(attributes: Attributes) -> u16 {
    u16::try_from(attributes.mode & 0o7777).expect("masked to 12 bits")
}

fn file_type(inode: &Inode) -> Result<FileType, Ext4Fault> {
    Ok(match inode.file_type() {
        inode::S_IFREG => FileType::File,
        inode::S_IFDIR => FileType::Directory,
        inode::S_IFLNK => FileType::Symlink,
        inode::S_IFCHR => FileType::CharacterDevice,
        inode::S_IFBLK => FileType::BlockDevice,
        inode::S_IFIFO => FileType::Fifo,
        inode::S_IFSOCK => FileType::Socket,
        _ => return Err(damaged("an inode has no file type")),
    })
}

/// Major and minor number as the kernel packs them (`include/linux/kdev_t.h`): the old form of
/// 8 bits each in the first word, or else the new one of 12 and 20 bits in the second.
fn device_numbers(inode: &Inode) -> (u32, u32) {
    let word = |at: usize| {
        u32::from_le_bytes(*inode.block[at..].first_chunk().expect("60 bytes hold two words"))
    };
    match (word(0), word(4)) {
        (0, new) => ((new >> 8) & 0xfff, (new & 0xff) | ((new >> 12) & 0xf_ff00)),
        (old, _) => ((old >> 8) & 0xff, old & 0xff),
    }
}

impl Volume for Ext4 {
    fn kind(&self) -> &'static str {
        guard::flavor(&*self.disk)
    }

    fn label(&self) -> Option<String> {
        guard::identity(&*self.disk).0
    }

    fn uuid(&self) -> Option<String> {
        guard::identity(&*self.disk).1
    }

    fn is_writable(&self) -> bool {
        self.disk.is_writable()
    }

    fn has_owners(&self) -> bool {
        true
    }

    fn space(&self) -> Result<Space> {
        let (counts, superblock) = counts::read(self.fs()?).map_err(|fault| self.explain(fault))?;
        let block = u64::from(superblock.block_size());
        let total = superblock.blocks_count.saturating_mul(block);
        Ok(Space {
            total,
            free: counts.blocks.saturating_mul(counts::unit(&superblock)).min(total),
            free_inodes: u64::from(counts.inodes),
            block,
        })
    }

    fn root(&self) -> VolumeNode {
        ROOT
    }

    fn lookup(&self, directory: VolumeNode, name: &OsStr) -> Result<Option<VolumeNode>> {
        let number = inode_number(directory)?;
        if let Some(known) = self.known_directory(number)? {
            return Ok(known.get(name.as_bytes()).map(VolumeNode::from));
        }
        match self.fs()?.lookup_at(number, name.as_bytes()) {
            Ok(number) => Ok(Some(VolumeNode::from(number))),
            Err(fs_ext4::Error::NotFound) => Ok(None),
            Err(error) => Err(self.explain(error)),
        }
    }

    fn metadata(&self, node: VolumeNode) -> Result<Metadata> {
        let LoadedInode { inode, .. } = &*self.load(node)?;
        let file_type = file_type(inode).map_err(|fault| self.explain(fault))?;
        Ok(Metadata {
            file_type,
            size: inode.size,
            mode: u32::from(inode.mode & 0o7777),
            uid: inode.uid,
            gid: inode.gid,
            modified: (inode.mtime, inode.mtime_nsec),
            links: u32::from(inode.links_count),
            inode: node,
            device: match file_type {
                FileType::CharacterDevice | FileType::BlockDevice => device_numbers(inode),
                FileType::File
                | FileType::Directory
                | FileType::Symlink
                | FileType::Fifo
                | FileType::Socket => (0, 0),
            },
        })
    }

    fn allocated(&self, node: VolumeNode) -> Result<u64> {
        Ok(self.load(node)?.inode.blocks.saturating_mul(512))
    }

    fn read_dir(&self, directory: VolumeNode) -> Result<Vec<(Entry, VolumeNode)>> {
        let number = inode_number(directory)?;
        let found = if let Some(known) = self.known_directory(number)? {
            known
        } else {
            let loaded = self.load(directory)?;
            let read = Directory::read(self.fs()?, number, &loaded.inode, &loaded.raw);
            Arc::new(read.map_err(|fault| self.explain(fault))?)
        };
        let mut entries = Vec::with_capacity(found.entries.len());
        for entry in &found.entries {
            let node = VolumeNode::from(entry.inode);
            let file_type = match entry.file_type {
                DirEntryType::RegFile => FileType::File,
                DirEntryType::Directory => FileType::Directory,
                DirEntryType::CharDev => FileType::CharacterDevice,
                DirEntryType::BlockDev => FileType::BlockDevice,
                DirEntryType::Fifo => FileType::Fifo,
                DirEntryType::Socket => FileType::Socket,
                DirEntryType::Symlink => FileType::Symlink,
                DirEntryType::Unknown => self.metadata(node)?.file_type,
            };
            let name = OsString::from_vec(entry.name.clone());
            entries.push((Entry { name, file_type }, node));
        }
        Ok(entries)
    }

    fn read_at(&self, node: VolumeNode, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let number = inode_number(node)?;
        let loaded = self.load(node)?;
        let LoadedInode { inode, raw, .. } = &*loaded;
        if !inode.is_file() {
            return Err(Error::input("not a regular file"));
        }
        let left = inode.size.saturating_sub(offset);
        let length = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..length];
        file_io::refuse_encrypted(inode).map_err(|fault| self.explain(fault))?;
        if inode.has_inline_data() {
            let fs = self.fs()?;
            let read = file_io::read_with_raw_verified(
                fs,
                inode,
                raw,
                number,
                offset,
                length as u64,
                buffer,
            );
            let read = read.map_err(|fault| self.explain(fault))?;
            return Ok(usize::try_from(read).expect("no more than the buffer holds"));
        }
        let runs = self.blocks(number, &loaded)?;
        let mut done = 0;
        while done < length {
            done += self.read_run(runs, offset + done as u64, &mut buffer[done..])?;
        }
        Ok(length)
    }

    fn data_runs(&self, node: VolumeNode) -> Result<Vec<Range<u64>>> {
        let loaded = self.load(node)?;
        let inode = &loaded.inode;
        if !inode.is_file() {
            return Err(Error::input("not a regular file"));
        }
        if inode.has_inline_data() {
            let run = Some(0..inode.size).filter(|run| !run.is_empty());
            return Ok(run.into_iter().collect());
        }
        let block_size = u64::from(self.fs()?.sb.block_size());
        Ok(runs::data(self.blocks(inode_number(node)?, &loaded)?, block_size, inode.size))
    }

    fn read_link(&self, node: VolumeNode) -> Result<OsString> {
        let LoadedInode { inode, raw, .. } = &*self.load(node)?;
        let fs = self.fs()?;
        let target = if inode.is_symlink() && inode.has_inline_data() {
            file_io::read_inline(fs, inode, raw)
        } else {
            fs.read_link(inode_number(node)?)
        };
        Ok(OsString::from_vec(target.map_err(|fault| self.explain(fault))?))
    }

    fn xattrs(&self, node: VolumeNode) -> Result<Vec<(OsString, Vec<u8>)>> {
        let LoadedInode { inode, raw, .. } = &*self.load(node)?;
        let entries = xattr::read_all_resolved(self.fs()?, inode, raw)
            .map_err(|fault| self.explain(fault))?;
        let mut attributes = Vec::with_capacity(entries.len());
        for entry in entries {
            let name = OsString::from(entry.name);
            // Not an attribute to anybody but ext4: the rest of a small file's content.
            if name == "system.data" {
                continue;
            }
            let value = if acl::is_acl(&name) {
                acl::from_disk(&entry.value)
                    .ok_or_else(|| self.explain(damaged("an ACL is none")))?
            } else {
                entry.value
            };
            attributes.push((name, value));
        }
        Ok(attributes)
    }

    fn check(&self, planned: Planned<'_>) -> Result<()> {
        match planned {
            Planned::Symlink(target) => {
                // It has one block, with the zero byte that ends it.
                let limit = self.fs()?.sb.block_size().min(4096) as usize - 1;
                if target.len() > limit {
                    let length = target.len();
                    let message = format!("the target has {length} bytes, and {limit} fit");
                    return Err(Error::input(message));
                }
                Ok(())
            }
            // The crate writes larger numbers in the old form, too, where the kernel misreads
            // them.
            Planned::Special((major, minor)) if major > 0xff || minor > 0xff => {
                Err(Error::failure(format!(
                    "device {major}:{minor} has a number above 255, which cannot be written here"
                )))
            }
            Planned::File(_) | Planned::Link | Planned::Special(_) => Ok(()),
        }
    }

    fn create_file(
        &mut self,
        directory: VolumeNode,
        name: &OsStr,
        attributes: Attributes,
    ) -> Result<VolumeNode> {
        let number = self
            .changing_directory(directory)?
            .apply_create_at(inode_number(directory)?, name.as_bytes(), mode_bits(attributes))
            .map_err(|fault| self.explain(fault))?;
        self.claim(number, attributes)
    }

    fn create_dir(
        &mut self,
        directory: VolumeNode,
        name: &OsStr,
        attributes: Attributes,
    ) -> Result<VolumeNode> {
        let number = self
            .changing_directory(directory)?
            .apply_mkdir_at(inode_number(directory)?, name.as_bytes(), mode_bits(attributes))
            .map_err(|fault| self.explain(fault))?;
        self.directories.get_mut().expect("no reader panicked").changed.insert(number);
        self.claim(number, attributes)
    }

    fn create_symlink(
        &mut self,
        directory: VolumeNode,
        name: &OsStr,
        target: &OsStr,
    ) -> Result<VolumeNode> {
        self.changing_directory(directory)?
            .apply_symlink_at(inode_number(directory)?, name.as_bytes(), target.as_bytes())
            .map(VolumeNode::from)
            .map_err(|fault| self.explain(fault))
    }

    fn create_special(
        &mut self,
        directory: VolumeNode,
        name: &OsStr,
        file_type: FileType,
        (major, minor): (u32, u32),
        attributes: Attributes,
    ) -> Result<VolumeNode> {
        let type_bits = match file_type {
            FileType::CharacterDevice => inode::S_IFCHR,
            FileType::BlockDevice => inode::S_IFBLK,
            FileType::Fifo => inode::S_IFIFO,
            FileType::Socket => inode::S_IFSOCK,
            FileType::File | FileType::Directory | FileType::Symlink => {
                return Err(Error::input("not a device, pipe or socket"));
            }
        };
        let number = self
            .changing_directory(directory)?
            .apply_mknod_at(
                inode_number(directory)?,
                name.as_bytes(),
                type_bits | mode_bits(attributes),
                major,
                minor,
            )
            .map_err(|fault| self.explain(fault))?;
        self.claim(number, attributes)
    }

    fn link(&mut self, node: VolumeNode, directory: VolumeNode, name: &OsStr) -> Result<()> {
        self.changing_directory(directory)?
            .apply_link_at(inode_number(node)?, inode_number(directory)?, name.as_bytes())
            .map_err(|fault| self.explain(fault))
    }

    fn unlink(&mut self, directory: VolumeNode, name: &OsStr) -> Result<()> {
        if let Some(node) = self.lookup(directory, name)? {
            self.check_blocks(node)?;
        }
        self.changing_directory(directory)?
            .apply_unlink_at(inode_number(directory)?, name.as_bytes())
            .map_err(|fault| self.explain(fault))
    }

    fn remove_dir(&mut self, directory: VolumeNode, name: &OsStr) -> Result<()> {
        if let Some(node) = self.lookup(directory, name)? {
            self.forget_directory(inode_number(node)?)?;
        }
        self.changing_directory(directory)?
            .apply_rmdir_at(inode_number(directory)?, name.as_bytes())
            .map_err(|fault| self.explain(fault))
    }

    fn replace_content(
        &mut self,
        node: VolumeNode,
        content: &mut dyn Read,
        size: u64,
    ) -> Result<()> {
        let number = inode_number(node)?;
        self.check_blocks(node)?;
        let loaded = self.load(node)?;
        if !loaded.inode.has_extents() && !loaded.inode.has_inline_data() {
            return Err(Error::failure("the file is mapped block by block, as ext3 did it")
                .hint("remove it first: it is then made with extents"));
        }
        self.changing()?;
        let fs = self.fs()?;
        fs.apply_truncate_ino(number, 0).map_err(|fault| self.explain(fault))?;
        let chunk = usize::try_from(size).unwrap_or(CHUNK).min(CHUNK);
        let mut buffer = vec![0; chunk];
        let mut offset = 0;
        while offset < size {
            let length = usize::try_from(size - offset).unwrap_or(CHUNK).min(CHUNK);
            content.read_exact(&mut buffer[..length])?;
            fs.apply_pwrite_ino(number, offset, &buffer[..length])
                .map_err(|fault| self.explain(fault))?;
            offset += length as u64;
        }
        Ok(())
    }

    fn set_attributes(&mut self, node: VolumeNode, attributes: Attributes) -> Result<()> {
        let number = inode_number(node)?;
        let is_symlink = self.load(node)?.inode.is_symlink();
        self.changing()?;
        let fs = self.fs()?;
        fs.apply_chown_ino(number, attributes.uid, attributes.gid)
            .map_err(|fault| self.explain(fault))?;
        if !is_symlink {
            fs.apply_chmod_ino(number, mode_bits(attributes))
                .map_err(|fault| self.explain(fault))?;
        }
        Ok(())
    }

    fn set_modified(&mut self, node: VolumeNode, (seconds, nanoseconds): (i64, u32)) -> Result<()> {
        let number = inode_number(node)?;
        self.changing()?
            .apply_utimens_ino(number, 0, UTIME_OMIT, seconds, nanoseconds)
            .map_err(|fault| self.explain(fault))
    }

    fn set_xattr(&mut self, path: &Path, name: &str, value: Option<&[u8]>) -> Result<()> {
        self.changing()?;
        let fs = self.fs()?;
        let path = path
            .to_str()
            .ok_or_else(|| Error::failure("extended attributes need a path in UTF-8"))?;
        let Some(value) = value else {
            return match fs.apply_removexattr(path, name) {
                Ok(()) | Err(fs_ext4::Error::NotFound) => Ok(()),
                Err(error) => Err(self.explain(error)),
            };
        };
        let converted;
        let value = if acl::is_acl(OsStr::new(name)) {
            converted = acl::to_disk(value)
                .ok_or_else(|| Error::input(format!("the value of `{name}` is not an ACL")))?;
            &converted
        } else {
            value
        };
        match fs.apply_setxattr(path, name, value) {
            Err(fs_ext4::Error::NoSpaceLeftOnDevice) => Err(Error::failure(format!(
                "`{name}` of {} bytes does not fit with the other extended attributes",
                value.len()
            ))),
            other => other.map_err(|fault| self.explain(fault)),
        }
    }

    fn flush(&mut self) -> Result<()> {
        if !self.is_writable() {
            return Ok(());
        }
        self.recent.get_mut().expect("no reader panicked").clear();
        // The superblock says "not cleanly unmounted" from the first change until this.
        if let Some(fs) = self.mounted.take() {
            fs.finish().map_err(|fault| self.explain(fault))?;
        }
        self.mounted = Some(mount(&self.disk, &self.runtime)?);
        Ok(())
    }
}
