//! The crate ext4-view reads what we wrote: other people's code, which shares nothing with ours.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{FileType, Tree};
use crate::disk::Disk;

/// Kinds of ext4 (of [`super::testing::EXT4_KINDS`]) that the other reader does not know.
pub(crate) const UNKNOWN_TO_IT: &[&str] = &["inline-data", "meta-bg"];

/// The disk, for the other reader.
struct Reader(Arc<dyn Disk>);

impl ext4_view::Ext4Read for Reader {
    fn read(
        &mut self,
        start: u64,
        bytes: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.read_at(bytes, start)?)
    }
}

/// The other reader takes a target for a path, and names in it may have so many bytes.
const LONGEST_TARGET: u64 = 255;

/// What a path is: its kind, mode, owner, group, seconds of last change, and content or target.
type Facts = (FileType, u32, u32, u32, i64, Vec<u8>);

fn theirs(fs: &ext4_view::Ext4) -> Result<BTreeMap<PathBuf, Facts>, ext4_view::Ext4Error> {
    let mut found = BTreeMap::new();
    let mut directories = vec![PathBuf::from("/")];
    while let Some(directory) = directories.pop() {
        for entry in fs.read_dir(directory.to_str().expect("tests use plain names"))? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.as_str().expect("tests use plain names");
            if name == "." || name == ".." {
                continue;
            }
            let path = directory.join(name);
            let at = path.to_str().expect("tests use plain names");
            let metadata = fs.symlink_metadata(at)?;
            let (kind, content) = match metadata.file_type() {
                ext4_view::FileType::Regular => (FileType::File, fs.read(at)?),
                ext4_view::FileType::Directory => {
                    directories.push(path.clone());
                    (FileType::Directory, Vec::new())
                }
                ext4_view::FileType::Symlink if metadata.len() > LONGEST_TARGET => {
                    (FileType::Symlink, Vec::new())
                }
                ext4_view::FileType::Symlink => {
                    (FileType::Symlink, fs.read_link(at)?.as_ref().to_vec())
                }
                ext4_view::FileType::CharacterDevice => (FileType::CharacterDevice, Vec::new()),
                ext4_view::FileType::BlockDevice => (FileType::BlockDevice, Vec::new()),
                ext4_view::FileType::Fifo => (FileType::Fifo, Vec::new()),
                ext4_view::FileType::Socket => (FileType::Socket, Vec::new()),
            };
            let mode = u32::from(metadata.mode() & 0o7777);
            let time = metadata.modified().seconds();
            found.insert(path, (kind, mode, metadata.uid(), metadata.gid(), time, content));
        }
    }
    Ok(found)
}

fn ours(tree: &dyn Tree) -> crate::util::error::Result<BTreeMap<PathBuf, Facts>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![PathBuf::from("/")];
    while let Some(directory) = directories.pop() {
        for entry in tree.read_dir(&directory)? {
            let path = directory.join(entry.name);
            let metadata = tree.metadata(&path)?.expect("it was listed");
            let content = match metadata.file_type {
                FileType::File => tree.read(&path, u64::MAX)?.expect("it was listed"),
                FileType::Symlink if metadata.size > LONGEST_TARGET => Vec::new(),
                FileType::Symlink => tree.read_link(&path)?.into_os_string().into_encoded_bytes(),
                FileType::Directory => {
                    directories.push(path.clone());
                    Vec::new()
                }
                FileType::CharacterDevice
                | FileType::BlockDevice
                | FileType::Fifo
                | FileType::Socket => Vec::new(),
            };
            let (kind, time) = (metadata.file_type, metadata.modified.0);
            found.insert(path, (kind, metadata.mode, metadata.uid, metadata.gid, time, content));
        }
    }
    Ok(found)
}

/// Both readers see the same on `disk`, which holds an ext4 file system and nothing else; `tree`
/// is ours of it.
#[track_caller]
pub(crate) fn assert_readers_agree(disk: Arc<dyn Disk>, tree: &dyn Tree) {
    let fs = ext4_view::Ext4::load(Box::new(Reader(disk))).expect("the other reader opens it");
    let theirs = theirs(&fs).expect("the other reader reads it");
    let ours = ours(tree).expect("we read it");
    let paths = |facts: &BTreeMap<PathBuf, Facts>| facts.keys().cloned().collect::<Vec<_>>();
    assert_eq!(paths(&theirs), paths(&ours));
    for (path, facts) in &theirs {
        assert!(*facts == ours[path], "{}", Path::new(path).display());
    }
}
