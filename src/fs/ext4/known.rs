//! Directories are read whole, and checked, before anything is looked up or changed in them.

use std::sync::Arc;

use fs_ext4::fs::Filesystem;

use super::directory::Directory;
use super::{Ext4, inode_number};
use crate::fs::volume::VolumeNode;
use crate::util::error::Result;

/// As many entries of directories are kept at most: those of a folder and of all that are in it.
const REMEMBERED: usize = 200_000;

impl Ext4 {
    /// The file system for a change to a directory, which must be sound.
    pub(super) fn changing_directory(&mut self, directory: VolumeNode) -> Result<&Filesystem> {
        let number = inode_number(directory)?;
        self.known_directory(number)?;
        let directories = self.directories.get_mut().expect("no reader panicked");
        directories.read.remove(&number);
        directories.changed.insert(number);
        self.changing()
    }

    /// A directory that was read whole; `None` when it was changed since.
    pub(super) fn known_directory(&self, number: u32) -> Result<Option<Arc<Directory>>> {
        let mut directories = self.directories.lock().expect("no reader panicked");
        if directories.changed.contains(&number) {
            return Ok(None);
        }
        if let Some(known) = directories.read.get(&number) {
            return Ok(Some(Arc::clone(known)));
        }
        let loaded = self.load(number.into())?;
        let found = Directory::read(self.fs()?, number, &loaded.inode, &loaded.raw);
        let found = found.map_err(|fault| self.explain(fault))?;
        directories.weight += found.entries.len() + 1;
        if directories.weight > REMEMBERED {
            directories.read.clear();
            directories.weight = found.entries.len() + 1;
        }
        let found = Arc::new(found);
        directories.read.insert(number, Arc::clone(&found));
        Ok(Some(found))
    }

    /// Checks a directory that is about to be removed: whatever its number is given to next was not
    /// read yet.
    pub(super) fn forget_directory(&mut self, number: u32) -> Result<()> {
        self.known_directory(number)?;
        let directories = self.directories.get_mut().expect("no reader panicked");
        directories.read.remove(&number);
        directories.changed.remove(&number);
        Ok(())
    }
}
