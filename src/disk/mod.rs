//! Disks: things with a size whose bytes can be read, and sometimes written, at any offset.

mod chain;
mod checked;
mod cluster;
mod clusters;
mod compressed;
mod copy;
mod cursor;
mod format;
mod forward;
mod hash;
mod layered;
#[cfg(test)]
mod mutation;
mod open;
mod overlay;
pub mod qcow2;
mod raw;
mod regular;
mod scratch;
mod shadow;
mod slice;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod unpacked;
pub mod vmdk;
pub mod windows;

pub use chain::{ChainLink, ExtentList, ExtentPlace, ExtentSpan};
pub use checked::Checked;
pub use cluster::{CLUSTER, Delta};
pub(crate) use clusters::is_zero;
pub use clusters::{Clusters, Occupied};
pub(crate) use compressed::{decoder, refuse_larger};
pub use copy::{copy_file, copy_sparse};
pub use cursor::Cursor;
pub use format::{Format, probe};
pub(crate) use format::{is_archive, probe_bytes};
pub use hash::{sha256_of_disk, sha256_of_file};
pub use open::{
    check_sectors, files, links, open, open_bytes, open_forward, open_over, open_with,
    open_writable,
};
pub use overlay::Overlay;
pub use raw::Raw;
pub(crate) use regular::open_regular;
pub use scratch::Scratch;
pub use shadow::Shadow;
pub use slice::Slice;
pub(crate) use unpacked::announced;
pub use windows::{WINDOW, Windows};

use std::io;
use std::ops::Range;
use std::path::PathBuf;

/// A disk image or block device. All offsets and sizes are in bytes.
///
/// Shared between threads: many nodes' overlays read one base at once.
pub trait Disk: Send + Sync {
    /// The virtual size.
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset`. Reading past the end is `UnexpectedEof`.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Whether `write_at` may be called at all.
    fn is_writable(&self) -> bool {
        false
    }

    /// Writes all of `data` at `offset`; never makes the disk longer.
    fn write_at(&self, _data: &[u8], _offset: u64) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the disk is open for reading only"))
    }

    /// The first run of bytes at or after `from` that may hold anything but zeros;
    /// `None` when only zeros follow. Everything outside the runs reads as zeros.
    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        Ok((from < self.size()).then(|| from..self.size()))
    }

    /// Makes what was written durable.
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    /// The unit in which its partition table counts: 512, or 4096 on 4K-native drives.
    fn sector_size(&self) -> u32 {
        512
    }

    /// The file or device that holds these very bytes, and the byte they start at there: what
    /// messages point other programs at. `None` when they lie in no file as they are.
    fn location(&self) -> Option<(PathBuf, u64)> {
        None
    }
}

/// `UnexpectedEof` when `length` bytes from `offset` are not all inside a disk of `size` bytes.
fn check_bounds(size: u64, offset: u64, length: usize) -> io::Result<()> {
    match offset.checked_add(length as u64) {
        Some(end) if end <= size => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "access past the end of the disk")),
    }
}

impl<D: Disk + ?Sized> Disk for std::sync::Arc<D> {
    fn size(&self) -> u64 {
        (**self).size()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_at(buffer, offset)
    }
    fn is_writable(&self) -> bool {
        (**self).is_writable()
    }
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        (**self).write_at(data, offset)
    }
    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        (**self).next_data(from)
    }
    fn sync(&self) -> io::Result<()> {
        (**self).sync()
    }
    fn sector_size(&self) -> u32 {
        (**self).sector_size()
    }
    fn location(&self) -> Option<(PathBuf, u64)> {
        (**self).location()
    }
}
