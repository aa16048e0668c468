//! Changing a tree: every check comes before the first change.

use std::collections::HashSet;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Namespace, Slot};
use crate::fs::resolve::FoundPath;
use crate::fs::volume::{Planned, Volume, VolumeNode};
use crate::fs::written::Expected;
use crate::fs::{Attributes, FileType, Tree, acl};
use crate::util::error::{Error, Result};
use crate::util::sha256::Hashing;

/// Who owns a new file when that is not said.
const NEW_FILE: Attributes = Attributes { mode: 0o644, uid: 0, gid: 0 };

/// Blocks kept free beyond what a change needs: for directories that grow and for the maps of
/// scattered files.
const SPARE_BLOCKS: u64 = 8;

/// As deep as directories are followed when they are removed.
const MAX_DEPTH: usize = 256;

impl Namespace {
    /// Refuses a change that needs `bytes` of content and one inode more than there is.
    /// `freed` are the bytes that the change itself gives back.
    fn check_space(&self, volume: usize, bytes: u64, freed: u64) -> Result<()> {
        let space = self.volumes[volume].space()?;
        let blocks = bytes.div_ceil(space.block.max(1));
        // Beyond one block in 64, even a file in pieces of one block each needs no map.
        let blocks = blocks.saturating_add(blocks / 64).saturating_add(SPARE_BLOCKS);
        let needed = blocks.saturating_mul(space.block);
        let free = space.free.saturating_add(freed);
        let point = &self.mounts[volume].point;
        let which = if point == Path::new("/") {
            "root file system".to_owned()
        } else {
            format!("file system at `{}`", point.display())
        };
        let hint = "give the image a larger disk (`size` under `[disk]`), or remove something";
        if needed > free {
            let message =
                format!("no space left on the {which}: {needed} bytes needed, {free} free");
            return Err(Error::failure(message).hint(hint));
        }
        if space.free_inodes < SPARE_BLOCKS {
            let message = format!(
                "no space left on the {which}: it has {} inodes free of {SPARE_BLOCKS} needed",
                space.free_inodes
            );
            return Err(Error::failure(message).hint(hint));
        }
        Ok(())
    }

    /// Makes room for something new at `slot`: a file or symlink in its place goes.
    fn vacate(&mut self, slot: &Slot) -> Result<()> {
        let Some((at, metadata)) = &slot.existing else { return Ok(()) };
        if metadata.file_type == FileType::Directory || at.volume != slot.directory.volume {
            return Err(Error::input("there is a directory already"));
        }
        self.volumes[slot.directory.volume].unlink(slot.directory.node, &slot.name)
    }

    /// Notes what was made at `slot`.
    fn record(&mut self, slot: &Slot, node: VolumeNode, mut expected: Expected) {
        let volume = slot.directory.volume;
        if !self.volumes[volume].has_owners() {
            expected.attributes = None;
        }
        self.written.created(slot.place.path(), FoundPath { volume, node }, expected);
    }

    pub(super) fn write_file(
        &mut self,
        path: &Path,
        content: &mut dyn Read,
        size: u64,
        attributes: Option<Attributes>,
    ) -> Result<()> {
        let slot = self.slot(path)?;
        let volume = slot.directory.volume;
        self.volumes[volume].check(Planned::File(size))?;
        let kept = match &slot.existing {
            Some((at, metadata)) if metadata.file_type == FileType::File => {
                let attributes =
                    Attributes { mode: metadata.mode, uid: metadata.uid, gid: metadata.gid };
                Some((at.node, attributes))
            }
            _ => None,
        };
        let freed = match kept {
            Some((node, _)) => self.volumes[volume].allocated(node)?,
            None => 0,
        };
        self.check_space(volume, size, freed)?;
        self.forget();
        let mut content = Hashing::new(content);
        let (node, attributes) = if let Some((node, old)) = kept {
            self.volumes[volume].replace_content(node, &mut content, size)?;
            if let Some(new) = attributes
                && new != old
            {
                self.volumes[volume].set_attributes(node, new)?;
                self.follow_mode(FoundPath { volume, node }, &slot.place.path(), new.mode)?;
            }
            (node, attributes.unwrap_or(old))
        } else {
            self.vacate(&slot)?;
            let attributes = attributes.unwrap_or(NEW_FILE);
            let directory = slot.directory.node;
            let node = self.volumes[volume].create_file(directory, &slot.name, attributes)?;
            self.volumes[volume].replace_content(node, &mut content, size)?;
            (node, attributes)
        };
        let hash = content.finish();
        if kept.is_some() {
            // Attributes set earlier in this session are still to be found.
            let has_owners = self.volumes[volume].has_owners();
            let at = FoundPath { volume, node };
            let expected = self.written.changed(slot.place.path(), at, FileType::File);
            expected.content = Some(hash);
            expected.attributes = has_owners.then_some(attributes);
        } else {
            let mut expected = Expected::new(FileType::File);
            expected.content = Some(hash);
            expected.attributes = Some(attributes);
            self.record(&slot, node, expected);
        }
        Ok(())
    }

    pub(super) fn make_dir(&mut self, path: &Path, attributes: Attributes) -> Result<()> {
        if self.place(path, false)?.existing().is_some() {
            return match self.metadata(path)? {
                Some(metadata) if metadata.file_type == FileType::Directory => {
                    self.set_attributes(path, attributes)
                }
                _ => Err(Error::input("something else is there already")),
            };
        }
        let slot = self.slot(path)?;
        self.check_space(slot.directory.volume, 1, 0)?;
        self.forget();
        let volume = &mut self.volumes[slot.directory.volume];
        let node = volume.create_dir(slot.directory.node, &slot.name, attributes)?;
        let mut expected = Expected::new(FileType::Directory);
        expected.attributes = Some(attributes);
        self.record(&slot, node, expected);
        Ok(())
    }

    pub(super) fn make_symlink(&mut self, path: &Path, target: &Path) -> Result<()> {
        if target.as_os_str().is_empty() || target.as_os_str().as_bytes().contains(&0) {
            return Err(Error::input("a symlink's target must not be empty or hold a zero byte"));
        }
        let slot = self.slot(path)?;
        self.volumes[slot.directory.volume].check(Planned::Symlink(target.as_os_str()))?;
        self.check_space(slot.directory.volume, target.as_os_str().len() as u64, 0)?;
        self.forget();
        self.vacate(&slot)?;
        let volume = &mut self.volumes[slot.directory.volume];
        let node = volume.create_symlink(slot.directory.node, &slot.name, target.as_os_str())?;
        let mut expected = Expected::new(FileType::Symlink);
        expected.target = Some(target.to_owned());
        self.record(&slot, node, expected);
        Ok(())
    }

    pub(super) fn link(&mut self, existing: &Path, path: &Path) -> Result<()> {
        let at = self.existing(existing)?;
        let file_type = self.mounts().volume(at).metadata(at.node)?.file_type;
        if file_type == FileType::Directory {
            return Err(Error::input("directories cannot have a second name"));
        }
        self.volumes[at.volume].check(Planned::Link)?;
        let slot = self.slot(path)?;
        if slot.existing.as_ref().is_some_and(|(there, _)| *there == at) {
            return Ok(());
        }
        if at.volume != slot.directory.volume {
            return Err(Error::input("the two are on different file systems"));
        }
        self.check_space(at.volume, 0, 0)?;
        self.forget();
        self.vacate(&slot)?;
        self.volumes[at.volume].link(at.node, slot.directory.node, &slot.name)?;
        self.written.changed(slot.place.path(), at, file_type);
        Ok(())
    }

    pub(super) fn make_special(
        &mut self,
        path: &Path,
        file_type: FileType,
        device: (u32, u32),
        attributes: Attributes,
    ) -> Result<()> {
        let slot = self.slot(path)?;
        self.volumes[slot.directory.volume].check(Planned::Special(device))?;
        self.check_space(slot.directory.volume, 0, 0)?;
        self.forget();
        self.vacate(&slot)?;
        let volume = &mut self.volumes[slot.directory.volume];
        let node = volume.create_special(
            slot.directory.node,
            &slot.name,
            file_type,
            device,
            attributes,
        )?;
        let mut expected = Expected::new(file_type);
        expected.attributes = Some(attributes);
        self.record(&slot, node, expected);
        Ok(())
    }

    pub(super) fn remove_path(&mut self, path: &Path) -> Result<()> {
        if self.place(path, false)?.existing().is_none() {
            return Ok(());
        }
        let slot = self.slot(path)?;
        let Some((at, metadata)) = &slot.existing else { return Ok(()) };
        if at.volume != slot.directory.volume {
            return Err(Error::input("a file system is mounted there"));
        }
        let path = slot.place.path();
        if self.mounts.iter().any(|mount| mount.point.starts_with(&path)) {
            return Err(Error::input("a file system is mounted below it"));
        }
        self.forget();
        let volume = &mut *self.volumes[at.volume];
        if metadata.file_type == FileType::Directory {
            empty(volume, at.node, &mut HashSet::new(), 0)?;
            volume.remove_dir(slot.directory.node, &slot.name)?;
        } else {
            volume.unlink(slot.directory.node, &slot.name)?;
        }
        self.written.removed(&path);
        Ok(())
    }

    /// The volume of something that exists, to be changed in place, and a note of it.
    pub(super) fn amend(&mut self, path: &Path) -> Result<(FoundPath, PathBuf, FileType)> {
        let place = self.place(path, false)?;
        let at = place.existing().ok_or_else(|| Error::input("no such file or directory"))?;
        let volume = self.mounts().volume(at);
        if !volume.is_writable() {
            return Err(Error::failure("the image is open for reading only"));
        }
        Ok((at, place.path(), volume.metadata(at.node)?.file_type))
    }

    /// Gives a file's ACL, where it has one, the mode that the file just got.
    pub(super) fn follow_mode(&mut self, at: FoundPath, path: &Path, mode: u32) -> Result<()> {
        let within = self.path_within(at, path);
        let volume = &mut self.volumes[at.volume];
        let acl = volume.xattrs(at.node)?.into_iter().find(|(name, _)| name == acl::ACCESS);
        let Some(value) = acl.and_then(|(_, value)| acl::with_mode(&value, mode)) else {
            return Ok(());
        };
        volume.set_xattr(&within, acl::ACCESS, Some(&value))?;
        let file_type = volume.metadata(at.node)?.file_type;
        let expected = self.written.changed(path.to_owned(), at, file_type);
        expected.xattrs.insert(acl::ACCESS.to_owned(), Some(value));
        Ok(())
    }

    /// The part of a path without symlinks that is within the volume it ends on.
    pub(super) fn path_within(&self, here: FoundPath, path: &Path) -> PathBuf {
        let point = &self.mounts[here.volume].point;
        let rest = path.strip_prefix(point).unwrap_or(path);
        Path::new("/").join(rest)
    }
}

/// Removes everything in a directory. `seen` catches directories that contain themselves.
fn empty(
    volume: &mut dyn Volume,
    directory: VolumeNode,
    seen: &mut HashSet<VolumeNode>,
    depth: usize,
) -> Result<()> {
    if depth > MAX_DEPTH || !seen.insert(directory) {
        return Err(Error::failure("the file system is damaged: a directory contains itself"));
    }
    for (entry, node) in volume.read_dir(directory)? {
        if entry.file_type == FileType::Directory {
            empty(volume, node, seen, depth + 1)?;
            volume.remove_dir(directory, &entry.name)?;
        } else {
            volume.unlink(directory, &entry.name)?;
        }
    }
    Ok(())
}
