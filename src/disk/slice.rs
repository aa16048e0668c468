//! A part of a disk as a disk of its own: a partition.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::Disk;

/// `range` of another disk, in bytes.
pub struct Slice {
    disk: Arc<dyn Disk>,
    range: Range<u64>,
}

impl Slice {
    /// The bytes `range` of `disk`; `UnexpectedEof` when they reach past its end.
    pub fn new(disk: Arc<dyn Disk>, range: Range<u64>) -> io::Result<Self> {
        if range.start > range.end || range.end > disk.size() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the partition reaches past the end of the disk",
            ));
        }
        Ok(Self { disk, range })
    }

    /// `offset` on the disk below, after checking that `length` bytes from there are inside.
    fn translate(&self, offset: u64, length: usize) -> io::Result<u64> {
        let end = offset.checked_add(length as u64);
        if end.is_none_or(|end| end > self.size()) {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "access past the end of the partition",
            ));
        }
        Ok(self.range.start + offset)
    }
}

impl Disk for Slice {
    fn size(&self) -> u64 {
        self.range.end - self.range.start
    }

    fn sector_size(&self) -> u32 {
        self.disk.sector_size()
    }

    fn location(&self) -> Option<(PathBuf, u64)> {
        let (path, start) = self.disk.location()?;
        Some((path, start + self.range.start))
    }

    fn is_writable(&self) -> bool {
        self.disk.is_writable()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.read_at(buffer, self.translate(offset, buffer.len())?)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.disk.write_at(data, self.translate(offset, data.len())?)
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        if from >= self.size() {
            return Ok(None);
        }
        let start = self.range.start;
        Ok(self
            .disk
            .next_data(start + from)?
            .filter(|run| run.start < self.range.end)
            .map(|run| run.start - start..run.end.min(self.range.end) - start))
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::testing::{Memory, contents};

    #[test]
    fn a_slice_is_a_disk_that_cannot_be_left() {
        let whole = Arc::new(Memory::new((0..=255).collect()));
        let slice = Slice::new(Arc::clone(&whole) as Arc<dyn Disk>, 100..110).unwrap();
        assert_eq!(contents(&slice), (100..110).collect::<Vec<u8>>());
        slice.write_at(&[0, 0], 8).unwrap();
        assert!(slice.write_at(&[0, 0], 9).is_err());
        assert!(slice.write_at(&[0], u64::MAX).is_err());
        assert!(slice.read_at(&mut [0; 11], 0).is_err());
        assert_eq!(whole.bytes()[107..111], [107, 0, 0, 110]);
        assert_eq!(slice.next_data(4).unwrap(), Some(4..10));
        assert_eq!(slice.next_data(10).unwrap(), None);
        assert_eq!(slice.next_data(u64::MAX).unwrap(), None);
    }

    #[test]
    fn a_slice_lies_inside_its_disk() {
        let whole: Arc<dyn Disk> = Arc::new(Memory::new(vec![0; 100]));
        assert!(Slice::new(Arc::clone(&whole), 50..101).is_err());
        assert!(Slice::new(Arc::clone(&whole), std::ops::Range { start: 50, end: 40 }).is_err());
        assert!(Slice::new(whole, 100..100).is_ok());
    }
}
