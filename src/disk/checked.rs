//! A raw image that is compared with the list of its windows while it is read.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::copy::{clone_file, require_room};
use super::{Disk, Raw, WINDOW, Windows, copy_sparse, windows};
use crate::util::error::{Error, Result};
use crate::util::parallel::parallel;
use crate::util::room::FolderUse;

/// A raw image of which no byte is given out before its window was found to be what the list says. Each
/// window is looked at once; holes are looked at, too, and not read.
#[derive(Debug)]
pub struct Checked {
    raw: Arc<Raw>,
    windows: Windows,
    /// The windows that were found to be right.
    seen: Vec<AtomicBool>,
}

impl Checked {
    /// `None` when the list is of a disk of another size.
    pub fn new(raw: Arc<Raw>, windows: Windows) -> Option<Self> {
        let count = windows.count_for(raw.size())?;
        let seen = (0..count).map(|_| AtomicBool::new(false)).collect();
        Some(Self { raw, windows, seen })
    }

    /// Compares what was not read yet, on so many threads.
    pub fn check(&self, threads: usize) -> Result<()> {
        let ranges: Vec<_> = windows::ranges(self.raw.size()).collect();
        parallel(threads, &ranges, |range| Ok(self.look(range)?))?;
        Ok(())
    }

    /// Copies it to a file just made that is at least as long. Where the file system can, the two share their
    /// blocks; else holes stay holes. Fails when anything of it is not what the list says.
    pub fn copy_to(&self, to: &Raw, place: FolderUse, threads: usize) -> Result<()> {
        if clone_file(&self.raw, to) {
            return self.check(threads);
        }
        require_room(&*self.raw, to, place)?;
        Ok(copy_sparse(self, to)?)
    }

    /// Compares all windows that a range touches.
    fn look(&self, range: &Range<u64>) -> io::Result<()> {
        for index in range.start / WINDOW..range.end.div_ceil(WINDOW) {
            let index_in_list = usize::try_from(index).map_err(io::Error::other)?;
            let Some(seen) = self.seen.get(index_in_list) else { break };
            if seen.load(Ordering::Relaxed) {
                continue;
            }
            let window = index * WINDOW..self.raw.size().min((index + 1) * WINDOW);
            if !self.windows.is_right(&*self.raw, &window)? {
                return Err(self.damaged(&window).into());
            }
            seen.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn damaged(&self, window: &Range<u64>) -> Error {
        let path = self.raw.location().map_or_else(String::new, |(it, _)| it.display().to_string());
        Error::failure(format!(
            "`{path}` is damaged: its bytes {} to {} are not what they were",
            window.start, window.end
        ))
        .hint("`nodeforge cache verify` removes what is damaged; the next build makes it again")
    }
}

impl Disk for Checked {
    fn size(&self) -> u64 {
        self.raw.size()
    }

    fn sector_size(&self) -> u32 {
        self.raw.sector_size()
    }

    fn location(&self) -> Option<(PathBuf, u64)> {
        self.raw.location()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.saturating_add(buffer.len() as u64);
        self.look(&(offset..end.max(offset)))?;
        self.raw.read_at(buffer, offset)
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let run = self.raw.next_data(from)?;
        // What was data may have become a hole.
        self.look(&(from..run.as_ref().map_or(self.raw.size(), |it| it.start).max(from)))?;
        Ok(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(folder: &std::path::Path) -> (Arc<Raw>, Windows) {
        let file = tempfile::NamedTempFile::new_in(folder).unwrap();
        let path = file.path().to_owned();
        file.close().unwrap();
        let raw = Raw::create(&path, 5 * WINDOW + 512).unwrap();
        for at in [0, 2 * WINDOW + 700, 5 * WINDOW] {
            raw.write_at(b"data", at).unwrap();
        }
        let windows = Windows::of(&raw, 2).unwrap();
        (Arc::new(raw), windows)
    }

    #[test]
    fn what_is_damaged_is_not_given_out() {
        let folder = tempfile::tempdir().unwrap();
        let (raw, windows) = image(folder.path());
        let empty = |name: &str, size| Raw::create(&folder.path().join(name), size).unwrap();
        let copy = empty("copy", raw.size());
        let checked = |raw: &Arc<Raw>| Checked::new(Arc::clone(raw), windows.clone()).unwrap();
        checked(&raw).copy_to(&copy, FolderUse::Cache, 2).unwrap();
        assert_eq!(Windows::of(&copy, 2).unwrap(), windows);

        // Data, a hole that has become data, and data that has become a hole.
        for (at, bytes) in
            [(5 * WINDOW + 2, &b"x"[..]), (3 * WINDOW, b"y"), (2 * WINDOW + 700, &[0; 4])]
        {
            let (raw, windows) = image(folder.path());
            raw.write_at(bytes, at).unwrap();
            let damaged = Checked::new(Arc::clone(&raw), windows.clone()).unwrap();
            let mut buffer = [0; 4];
            damaged.read_at(&mut buffer, 0).unwrap();
            let error = Error::from(damaged.read_at(&mut buffer, at - 2).unwrap_err()).to_string();
            assert!(error.contains("is damaged: its bytes"), "{error}");
            assert!(damaged.check(2).is_err());
            let copy = empty(&format!("copy at {at}"), raw.size());
            assert!(
                Checked::new(raw, windows).unwrap().copy_to(&copy, FolderUse::Cache, 2).is_err()
            );
        }
        let holes = empty("holes", 5 * WINDOW + 512);
        let damaged = Checked::new(Arc::new(holes), windows.clone()).unwrap();
        assert!(copy_sparse(&damaged, &copy).is_err());
        let shorter = empty("shorter", 512);
        assert!(Checked::new(Arc::new(shorter), windows).is_none());
    }

    #[test]
    fn each_window_is_compared_once() {
        let folder = tempfile::tempdir().unwrap();
        let (raw, windows) = image(folder.path());
        let checked = Checked::new(Arc::clone(&raw), windows).unwrap();
        checked.read_at(&mut [0; 4], 0).unwrap();
        raw.write_at(b"x", 9).unwrap();
        checked.read_at(&mut [0; 4], 8).unwrap();
        assert!(checked.seen[1..].iter().all(|it| !it.load(Ordering::Relaxed)));
    }
}
