//! What the fuzz targets share: a disk in memory.

use std::io;
use std::sync::RwLock;

use nodeforge::disk::Disk;

/// A disk in memory that can be written.
pub struct Memory(RwLock<Vec<u8>>);

impl Memory {
    /// A disk with these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self(RwLock::new(bytes.to_vec()))
    }
}

impl Disk for Memory {
    fn size(&self) -> u64 {
        self.0.read().map_or(0, |bytes| bytes.len() as u64)
    }

    fn is_writable(&self) -> bool {
        true
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.0.read().map_err(|_| io::ErrorKind::Other)?;
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let part = bytes.get(start..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = self.0.write().map_err(|_| io::ErrorKind::Other)?;
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let part = bytes.get_mut(start..).and_then(|rest| rest.get_mut(..data.len()));
        part.ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        Ok(())
    }
}
