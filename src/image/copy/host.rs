//! A folder of this machine as a tree.

mod attributes;
mod change;
mod folder;

use std::ffi::OsString;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, readlinkat, statat};

use super::CopyTarget;
use folder::{at, file_type};

pub use folder::{HostTree, Withheld};

use crate::fs::{Attributes, Entry, FileType, Metadata, Tree};
use crate::util::error::{Error, Result};

impl CopyTarget for HostTree {
    fn keeps_attributes(&self, _path: &Path) -> bool {
        true
    }
}

impl Tree for HostTree {
    fn metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        let metadata =
            || -> Result<_> { self.stat(path)?.map(|stat| self.describe(&stat)).transpose() };
        at("looking at", path, metadata())
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<Entry>> {
        let list = || -> Result<Vec<Entry>> {
            let folder = self.folder(path)?;
            let mut entries = Vec::new();
            for entry in Dir::read_from(&folder).map_err(io::Error::from)? {
                let entry = entry.map_err(io::Error::from)?;
                let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
                if name == "." || name == ".." {
                    continue;
                }
                let stat = statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW);
                let mode = stat.map_err(io::Error::from)?.st_mode;
                let file_type = file_type(mode)
                    .ok_or_else(|| Error::failure("it has an unknown type in it"))?;
                entries.push(Entry { name, file_type });
            }
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(entries)
        };
        at("listing", path, list())
    }

    fn read_at(&self, path: &Path, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut read = || -> Result<usize> {
            let mut reading = self.reading.borrow_mut();
            if let Some((known, file)) = &*reading
                && known == path
            {
                return Ok(file.read_at(buffer, offset)?);
            }
            let file = self.open_existing(path)?;
            if !file.metadata()?.is_file() {
                return Err(Error::input("not a regular file"));
            }
            let read = file.read_at(buffer, offset)?;
            *reading = Some((path.to_owned(), file));
            Ok(read)
        };
        at("reading", path, read())
    }

    fn data_runs(&self, path: &Path) -> Result<Vec<Range<u64>>> {
        let size = self.metadata(path)?.map_or(0, |metadata| metadata.size);
        let all = (size > 0).then_some(0..size);
        Ok(all.into_iter().collect())
    }

    fn read_link(&self, path: &Path) -> Result<PathBuf> {
        let read = || -> io::Result<PathBuf> {
            let (folder, name) = self.slot(path)?;
            let target = readlinkat(&folder, name, Vec::new())?;
            Ok(OsString::from_vec(target.into_bytes()).into())
        };
        at("reading the symlink", path, read())
    }

    /// The path itself: nothing is followed here.
    fn resolve(&self, path: &Path) -> Result<Option<PathBuf>> {
        Ok(at("resolving", path, self.stat(path))?.map(|_| path.to_owned()))
    }

    fn xattrs(&self, path: &Path) -> Result<Vec<(OsString, Vec<u8>)>> {
        at("reading the extended attributes of", path, attributes::read(self, path))
    }

    fn write_from(
        &mut self,
        path: &Path,
        content: &mut dyn Read,
        size: u64,
        attributes: Option<Attributes>,
    ) -> Result<()> {
        *self.reading.get_mut() = None;
        at("writing", path, change::write(self, path, content, size, attributes))
    }

    fn create_dir(&mut self, path: &Path, attributes: Attributes) -> Result<()> {
        at("making the directory", path, change::create_dir(self, path, attributes))
    }

    fn symlink(&mut self, path: &Path, target: &Path) -> Result<()> {
        at("making the symlink", path, change::symlink(self, path, target))
    }

    fn hard_link(&mut self, existing: &Path, path: &Path) -> Result<()> {
        at("linking", path, change::hard_link(self, existing, path))
    }

    fn create_node(
        &mut self,
        path: &Path,
        file_type: FileType,
        device: (u32, u32),
        attributes: Attributes,
    ) -> Result<()> {
        at("making", path, change::create_node(self, path, file_type, device, attributes))
    }

    fn remove(&mut self, path: &Path) -> Result<()> {
        *self.recent.borrow_mut() = None;
        at("removing", path, change::remove(self, path))
    }

    fn set_attributes(&mut self, path: &Path, attributes: Attributes) -> Result<()> {
        at("setting owner and mode of", path, attributes::set(self, path, attributes))
    }

    fn set_modified(&mut self, path: &Path, time: (i64, u32)) -> Result<()> {
        at("setting the time of", path, attributes::set_modified(self, path, time))
    }

    fn set_xattr(&mut self, path: &Path, name: &str, value: Option<&[u8]>) -> Result<()> {
        at("setting an extended attribute of", path, attributes::set_xattr(self, path, name, value))
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    const ATTRIBUTES: Attributes = Attributes { mode: 0o640, uid: 0, gid: 0 };

    #[test]
    fn nothing_leads_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        let inside = folder.path().join("inside");
        for folder in [&outside, &inside] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(outside.join("file"), "untouched").unwrap();
        symlink(&outside, inside.join("folder")).unwrap();
        symlink(outside.join("file"), inside.join("file")).unwrap();
        let mut tree = HostTree::open(&inside).unwrap();
        for path in ["/folder/new", "/../outside/new", "/folder/../new"] {
            assert!(tree.write(Path::new(path), b"x", Some(ATTRIBUTES)).is_err(), "{path}");
            assert!(tree.create_dir(Path::new(path), ATTRIBUTES).is_err(), "{path}");
            assert!(tree.symlink(Path::new(path), Path::new("x")).is_err(), "{path}");
        }
        assert!(tree.create_dir(Path::new("/folder"), ATTRIBUTES).is_err());
        assert!(tree.read(Path::new("/file"), 100).is_err());
        tree.write(Path::new("/file"), b"replaced", Some(ATTRIBUTES)).unwrap();
        assert_eq!(fs::read(outside.join("file")).unwrap(), b"untouched");
        assert_eq!(fs::read(inside.join("file")).unwrap(), b"replaced");
        tree.remove(Path::new("/folder")).unwrap();
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(fs::read_dir(&inside).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_written_whole_does_not_appear() {
        let folder = tempfile::tempdir().unwrap();
        let mut tree = HostTree::open(folder.path()).unwrap();
        let mut short: &[u8] = b"three";
        let path = Path::new("/file");
        assert!(tree.write_from(path, &mut short, 100, Some(ATTRIBUTES)).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn zeros_become_holes() {
        let folder = tempfile::tempdir().unwrap();
        let mut tree = HostTree::open(folder.path()).unwrap();
        let mut content = vec![0; 1 << 20];
        content[500_000] = 1;
        tree.write(Path::new("/sparse"), &content, None).unwrap();
        let file = folder.path().join("sparse");
        assert!(fs::read(&file).unwrap() == content);
        assert!(fs::metadata(&file).unwrap().blocks() * 512 < 200_000);
    }
}
