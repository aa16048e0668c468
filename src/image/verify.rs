//! Reading back what a session wrote.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use sha2::Digest as _;

use super::Image;
use super::read_only::ReadOnly;
use crate::fs::{Expected, Tree};
use crate::image::mount;
use crate::util::error::{Context, Error, Result};
use crate::util::sha256::Sha256;

/// How much of a file is hashed at once, in bytes.
const CHUNK: usize = 1 << 20;

impl Image {
    /// Writes out what is still in memory, opens the image's file systems again, for reading only,
    /// and compares every path that this session changed with what was written: type, content,
    /// target, owner, mode and extended attributes. Returns how many paths it was.
    pub fn verify(&mut self) -> Result<usize> {
        self.flush()?;
        let disk = Arc::new(ReadOnly(Arc::clone(&self.disk)));
        // Mounted as before, even if this session wrote another fstab.
        let fresh = mount::remount(&(disk as _), self.clock, &self.parts, self.root)?;
        let mut count = 0;
        for (path, expected) in self.namespace.written() {
            check(&fresh, path, expected)
                .context(|| format!("reading back `{}`", path.display()))?;
            count += 1;
        }
        Ok(count)
    }
}

fn check(tree: &dyn Tree, path: &Path, expected: Option<&Expected>) -> Result<()> {
    let found = tree.metadata(path)?;
    let (expected, found) = match (expected, found) {
        (None, None) => return Ok(()),
        (None, Some(_)) => return Err(differs("it is there, though it was removed")),
        (Some(_), None) => return Err(differs("it is not there")),
        (Some(expected), Some(found)) => (expected, found),
    };
    if found.file_type != expected.file_type {
        return Err(differs("its type"));
    }
    if let Some(attributes) = expected.attributes {
        if found.mode != attributes.mode & 0o7777 {
            return Err(differs("its mode"));
        }
        if (found.uid, found.gid) != (attributes.uid, attributes.gid) {
            return Err(differs("its owner"));
        }
    }
    if let Some(target) = &expected.target
        && tree.read_link(path)? != *target
    {
        return Err(differs("its target"));
    }
    if let Some(content) = expected.content
        && hash(tree, path)? != content
    {
        return Err(differs("its content"));
    }
    if expected.xattrs.is_empty() {
        return Ok(());
    }
    let found = tree.xattrs(path)?;
    for (name, value) in &expected.xattrs {
        let there = found.iter().find(|(found, _)| found == OsStr::new(name));
        if there.map(|(_, value)| value) != value.as_ref() {
            return Err(differs(&format!("its extended attribute `{name}`")));
        }
    }
    Ok(())
}

fn hash(tree: &dyn Tree, path: &Path) -> Result<Sha256> {
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut offset = 0;
    loop {
        match tree.read_at(path, offset, &mut buffer)? {
            0 => return Ok(Sha256::finish(hash)),
            read => {
                hash.update(&buffer[..read]);
                offset += read as u64;
            }
        }
    }
}

fn differs(what: &str) -> Error {
    Error::failure(format!("it differs from what was written: {what}"))
        .hint("this is a bug in nodeforge, or memory or disk are failing: please report it")
}
