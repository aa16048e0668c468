//! The tree itself: what is asked for, and the path put into its errors.

use std::ffi::OsString;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::{Namespace, Recent};
use crate::fs::{Attributes, Entry, FileType, Metadata, Tree};
use crate::util::error::{Context, Error, Result};

/// Inode numbers of ext4 have 32 bits; above them is the volume's index.
const VOLUME_SHIFT: u32 = 32;

/// Says which path an error is about.
fn at<T>(verb: &str, path: &Path, result: Result<T>) -> Result<T> {
    result.context(|| format!("{verb} `{}`", path.display()))
}

impl Tree for Namespace {
    fn metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        let metadata = || match self.place(path, false)?.existing() {
            Some(at) => {
                let mut metadata = self.mounts().volume(at).metadata(at.node)?;
                if metadata.inode != 0 {
                    metadata.inode |= (at.volume as u64) << VOLUME_SHIFT;
                }
                Ok(Some(metadata))
            }
            None => Ok(None),
        };
        at("looking at", path, metadata())
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<Entry>> {
        let list = || {
            let place = self.place(path, false)?;
            let here = place.existing().ok_or_else(|| Error::input("no such file or directory"))?;
            let volume = self.mounts().volume(here);
            if volume.metadata(here.node)?.file_type != FileType::Directory {
                return Err(Error::input("not a directory"));
            }
            let mut found = volume.read_dir(here.node)?;
            found.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
            let names = found.iter().map(|(entry, node)| (entry.name.clone(), *node)).collect();
            *self.recent.lock().expect("no reader panicked") =
                Some(Recent { path: path.to_owned(), trail: place.trail, names });
            Ok(found.into_iter().map(|(entry, _)| entry).collect())
        };
        at("listing", path, list())
    }

    fn read_at(&self, path: &Path, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut read = || {
            let here = self.existing(path)?;
            self.mounts().volume(here).read_at(here.node, offset, buffer)
        };
        at("reading", path, read())
    }

    fn data_runs(&self, path: &Path) -> Result<Vec<Range<u64>>> {
        let runs = || {
            let here = self.existing(path)?;
            self.mounts().volume(here).data_runs(here.node)
        };
        at("reading", path, runs())
    }

    fn read_link(&self, path: &Path) -> Result<PathBuf> {
        let read = || {
            let here = self.existing(path)?;
            let volume = self.mounts().volume(here);
            if volume.metadata(here.node)?.file_type != FileType::Symlink {
                return Err(Error::input("not a symlink"));
            }
            volume.read_link(here.node).map(PathBuf::from)
        };
        at("reading the symlink", path, read())
    }

    fn resolve(&self, path: &Path) -> Result<Option<PathBuf>> {
        let place = at("resolving", path, self.place(path, true))?;
        Ok(place.existing().map(|_| place.path()))
    }

    fn xattrs(&self, path: &Path) -> Result<Vec<(OsString, Vec<u8>)>> {
        let read = || {
            let here = self.existing(path)?;
            let mut xattrs = self.mounts().volume(here).xattrs(here.node)?;
            xattrs.sort();
            Ok(xattrs)
        };
        at("reading the extended attributes of", path, read())
    }

    fn write_from(
        &mut self,
        path: &Path,
        content: &mut dyn Read,
        size: u64,
        attributes: Option<Attributes>,
    ) -> Result<()> {
        at("writing", path, self.write_file(path, content, size, attributes))
    }

    fn create_dir(&mut self, path: &Path, attributes: Attributes) -> Result<()> {
        at("making the directory", path, self.make_dir(path, attributes))
    }

    fn symlink(&mut self, path: &Path, target: &Path) -> Result<()> {
        at("making the symlink", path, self.make_symlink(path, target))
    }

    fn hard_link(&mut self, existing: &Path, path: &Path) -> Result<()> {
        let linked = self.link(existing, path);
        linked.context(|| format!("linking `{}` to `{}`", path.display(), existing.display()))
    }

    fn create_node(
        &mut self,
        path: &Path,
        file_type: FileType,
        device: (u32, u32),
        attributes: Attributes,
    ) -> Result<()> {
        at("making", path, self.make_special(path, file_type, device, attributes))
    }

    fn remove(&mut self, path: &Path) -> Result<()> {
        at("removing", path, self.remove_path(path))
    }

    fn set_attributes(&mut self, path: &Path, attributes: Attributes) -> Result<()> {
        let mut set = || {
            let (here, path, file_type) = self.amend(path)?;
            let volume = &mut self.volumes[here.volume];
            volume.set_attributes(here.node, attributes)?;
            if volume.has_owners() {
                self.follow_mode(here, &path, attributes.mode)?;
                let expected = self.written.changed(path, here, file_type);
                let mode = if file_type == FileType::Symlink { 0o777 } else { attributes.mode };
                expected.attributes = Some(Attributes { mode, ..attributes });
            }
            Ok(())
        };
        at("setting owner and mode of", path, set())
    }

    fn set_modified(&mut self, path: &Path, time: (i64, u32)) -> Result<()> {
        let mut set = || {
            let (here, ..) = self.amend(path)?;
            self.volumes[here.volume].set_modified(here.node, time)
        };
        at("setting the time of", path, set())
    }

    fn set_xattr(&mut self, path: &Path, name: &str, value: Option<&[u8]>) -> Result<()> {
        let mut set = || {
            let (here, path, file_type) = self.amend(path)?;
            let within = self.path_within(here, &path);
            self.volumes[here.volume].set_xattr(&within, name, value)?;
            let expected = self.written.changed(path, here, file_type);
            expected.xattrs.insert(name.to_owned(), value.map(<[u8]>::to_vec));
            Ok(())
        };
        let result: Result<()> = set();
        result.context(|| format!("setting `{name}` of `{}`", path.display()))
    }

    fn flush(&mut self) -> Result<()> {
        self.forget();
        for volume in &mut self.volumes {
            volume.flush()?;
        }
        Ok(())
    }
}
