//! A disk as a stream with a position, for libraries that want `Read`, `Write` and `Seek`.

use std::io::{self, Read, Seek, SeekFrom, Write};

use super::Disk;

/// A position on a disk. Reading stops at its end; writing past it is an error.
pub struct Cursor<'a> {
    disk: &'a dyn Disk,
    position: u64,
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte.
    pub fn new(disk: &'a dyn Disk) -> Self {
        Self { disk, position: 0 }
    }

    /// How many of `wanted` bytes there still are.
    fn available(&self, wanted: usize) -> usize {
        let left = self.disk.size().saturating_sub(self.position);
        wanted.min(usize::try_from(left).unwrap_or(usize::MAX))
    }
}

impl Read for Cursor<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.available(buffer.len());
        if length > 0 {
            self.disk.read_at(&mut buffer[..length], self.position)?;
            self.position += length as u64;
        }
        Ok(length)
    }
}

impl Write for Cursor<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let length = self.available(data.len());
        if length > 0 {
            self.disk.write_at(&data[..length], self.position)?;
            self.position += length as u64;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Cursor<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.disk.size().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "a position outside all disks")
        })?;
        Ok(self.position)
    }
}
