//! FAT file systems of the image while its programs run: folders, synced back afterwards.
//!
//! The kernel need not know FAT, and a user namespace may not mount it.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::partitions::FatPartition;
use crate::disk::{Disk, Raw, Slice};
use crate::fs::{Attributes, Fat, FileType, Namespace, Tree};
use crate::image::extract;
use crate::util::clock;
use crate::util::error::{Context, Error, Result};

/// All of a disk's FAT file systems, unpacked.
pub(crate) struct FatFolders<'a> {
    parts: Vec<(&'a FatPartition, PathBuf)>,
}

impl<'a> FatFolders<'a> {
    /// Unpacks them below `scratch`.
    pub(crate) fn open(disk: &Path, parts: &'a [FatPartition], scratch: &Path) -> Result<Self> {
        let disk: Arc<dyn Disk> = Arc::new(Raw::open(disk)?);
        let mut unpacked = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let folder = scratch.join(format!("fat-{index}"));
            fs::create_dir_all(&folder)?;
            let open = || extract(&open(&disk, part)?, &folder);
            open().context(|| format!("cannot unpack `{}`", part.point))?;
            unpacked.push((part, folder));
        }
        Ok(Self { parts: unpacked })
    }

    /// The folders, and where the image expects them.
    pub(crate) fn binds(&self) -> Vec<(&Path, &str)> {
        self.parts.iter().map(|(part, folder)| (folder.as_path(), part.point.as_str())).collect()
    }

    /// Writes what has changed back to the disk.
    pub(crate) fn close(self, disk: &Path) -> Result<()> {
        let disk: Arc<dyn Disk> = Arc::new(Raw::open_writable(disk)?);
        for (part, folder) in self.parts {
            let close = || {
                let mut tree = open(&disk, part)?;
                // What systemd-boot feeds the kernel's random numbers with is one machine's own.
                tree.remove(Path::new("/loader/random-seed"))?;
                sync(&folder, &mut tree, Path::new("/"))?;
                tree.flush()
            };
            close().context(|| format!("cannot pack `{}`", part.point))?;
        }
        Ok(())
    }
}

fn open(disk: &Arc<dyn Disk>, part: &FatPartition) -> Result<Namespace> {
    let slice = Slice::new(Arc::clone(disk), part.range.clone())?;
    Ok(Namespace::new(Box::new(Fat::open(Arc::new(slice), clock::now()?)?)))
}

/// Makes the tree's directory `path` equal to `folder`, touching only what differs.
fn sync(folder: &Path, tree: &mut dyn Tree, path: &Path) -> Result<()> {
    for entry in tree.read_dir(path)? {
        if fs::symlink_metadata(folder.join(&entry.name)).is_err() {
            tree.remove(&path.join(&entry.name))?;
        }
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (from, to) = (entry.path(), path.join(entry.file_name()));
        let kind = entry.file_type()?;
        let there = tree.metadata(&to)?;
        let is_folder = there.as_ref().is_some_and(|it| it.file_type == FileType::Directory);
        if kind.is_dir() {
            if !is_folder {
                tree.remove(&to)?;
                tree.create_dir(&to, Attributes { mode: 0o755, uid: 0, gid: 0 })?;
            }
            sync(&from, tree, &to)?;
        } else if kind.is_file() {
            let size = entry.metadata()?.len();
            if there.is_none_or(|it| it.size != size) || !is_same(&from, tree, &to)? {
                if is_folder {
                    tree.remove(&to)?;
                }
                tree.write_from(&to, &mut fs::File::open(&from)?, size, None)?;
            }
        } else {
            return Err(Error::failure(format!("FAT cannot hold the link `{}`", to.display())));
        }
    }
    Ok(())
}

fn is_same(from: &Path, tree: &dyn Tree, path: &Path) -> Result<bool> {
    let mut file = fs::File::open(from)?;
    let (mut ours, mut theirs) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut at = 0;
    loop {
        let length = file.read(&mut ours)?;
        if length == 0 {
            return Ok(true);
        }
        let mut done = 0;
        while done < length {
            match tree.read_at(path, at + done as u64, &mut theirs[done..length])? {
                0 => return Ok(false),
                read => done += read,
            }
        }
        if ours[..length] != theirs[..length] {
            return Ok(false);
        }
        at += length as u64;
    }
}
