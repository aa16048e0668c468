//! A disk that can be read and not written, whatever the one below allows.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::Disk;

/// A disk seen without the right to write.
pub struct ReadOnly(pub Arc<dyn Disk>);

impl Disk for ReadOnly {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn sector_size(&self) -> u32 {
        self.0.sector_size()
    }

    fn location(&self) -> Option<(PathBuf, u64)> {
        self.0.location()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buffer, offset)
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        self.0.next_data(from)
    }
}
