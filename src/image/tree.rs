//! An image is the tree of its namespace.

use std::ffi::OsString;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::Image;
use crate::fs::{Attributes, Entry, FileType, Metadata, Tree};
use crate::util::error::Result;

impl Tree for Image {
    fn metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        self.namespace.metadata(path)
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<Entry>> {
        self.namespace.read_dir(path)
    }

    fn read_at(&self, path: &Path, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.namespace.read_at(path, offset, buffer)
    }

    fn data_runs(&self, path: &Path) -> Result<Vec<Range<u64>>> {
        self.namespace.data_runs(path)
    }

    fn read_link(&self, path: &Path) -> Result<PathBuf> {
        self.namespace.read_link(path)
    }

    fn resolve(&self, path: &Path) -> Result<Option<PathBuf>> {
        self.namespace.resolve(path)
    }

    fn xattrs(&self, path: &Path) -> Result<Vec<(OsString, Vec<u8>)>> {
        self.namespace.xattrs(path)
    }

    fn write_from(
        &mut self,
        path: &Path,
        content: &mut dyn Read,
        size: u64,
        attributes: Option<Attributes>,
    ) -> Result<()> {
        self.namespace.write_from(path, content, size, attributes)
    }

    fn create_dir(&mut self, path: &Path, attributes: Attributes) -> Result<()> {
        self.namespace.create_dir(path, attributes)
    }

    fn symlink(&mut self, path: &Path, target: &Path) -> Result<()> {
        self.namespace.symlink(path, target)
    }

    fn hard_link(&mut self, existing: &Path, path: &Path) -> Result<()> {
        self.namespace.hard_link(existing, path)
    }

    fn create_node(
        &mut self,
        path: &Path,
        file_type: FileType,
        device: (u32, u32),
        attributes: Attributes,
    ) -> Result<()> {
        self.namespace.create_node(path, file_type, device, attributes)
    }

    fn remove(&mut self, path: &Path) -> Result<()> {
        self.namespace.remove(path)
    }

    fn set_attributes(&mut self, path: &Path, attributes: Attributes) -> Result<()> {
        self.namespace.set_attributes(path, attributes)
    }

    fn set_modified(&mut self, path: &Path, time: (i64, u32)) -> Result<()> {
        self.namespace.set_modified(path, time)
    }

    fn set_xattr(&mut self, path: &Path, name: &str, value: Option<&[u8]>) -> Result<()> {
        self.namespace.set_xattr(path, name, value)
    }

    fn flush(&mut self) -> Result<()> {
        self.namespace.flush()
    }
}
