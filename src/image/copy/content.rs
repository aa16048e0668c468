//! A file of a tree as a stream.

use std::io::{self, Read};
use std::path::Path;

use crate::fs::Tree;
use crate::util::interrupt;

/// Reads a regular file of a tree from its beginning to its end, until the process is asked to stop.
pub struct FileContent<'a> {
    tree: &'a dyn Tree,
    path: &'a Path,
    offset: u64,
}

impl<'a> FileContent<'a> {
    /// The file at `path`.
    pub fn new(tree: &'a dyn Tree, path: &'a Path) -> Self {
        Self { tree, path, offset: 0 }
    }
}

impl Read for FileContent<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        interrupt::check()?;
        let read = self.tree.read_at(self.path, self.offset, buffer)?;
        self.offset += read as u64;
        Ok(read)
    }
}
