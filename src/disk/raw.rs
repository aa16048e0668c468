//! Raw images: the file's bytes are the disk's bytes, holes are zeros.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::SeekFrom;

use super::Disk;
use crate::error::{Context, Result};

/// A raw image file.
pub struct Raw {
    file: File,
    size: u64,
    writable: bool,
}

impl Raw {
    /// Opens an image for reading.
    pub fn open(path: &Path) -> Result<Self> {
        let open = || {
            let file = File::open(path)?;
            let size = file.metadata()?.len();
            io::Result::Ok(Self { file, size, writable: false })
        };
        open().context(|| format!("opening `{}`", path.display()))
    }

    /// Opens an image for reading and writing.
    pub fn open_writable(path: &Path) -> Result<Self> {
        let open = || {
            let file = File::options().read(true).write(true).open(path)?;
            let size = file.metadata()?.len();
            io::Result::Ok(Self { file, size, writable: true })
        };
        open().context(|| format!("opening `{}` for writing", path.display()))
    }

    /// Makes an image of `size` bytes, all of them holes, at a path where nothing is yet.
    pub fn create(path: &Path, size: u64) -> Result<Self> {
        let create = || {
            let file = File::options().read(true).write(true).create_new(true).open(path)?;
            file.set_len(size)?;
            io::Result::Ok(Self { file, size, writable: true })
        };
        create().context(|| format!("creating `{}`", path.display()))
    }
}

impl Disk for Raw {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn is_writable(&self) -> bool {
        self.writable
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > self.size) {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "access past the end of the disk",
            ));
        }
        self.file.write_all_at(data, offset)
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        if from >= self.size {
            return Ok(None);
        }
        match rustix::fs::seek(&self.file, SeekFrom::Data(from)) {
            Ok(start) if start < self.size => {
                let end = rustix::fs::seek(&self.file, SeekFrom::Hole(start))?;
                Ok(Some(start..end.min(self.size)))
            }
            Ok(_) | Err(rustix::io::Errno::NXIO) => Ok(None),
            // The file system knows no holes: all of it is data.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => {
                Ok(Some(from..self.size))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}
