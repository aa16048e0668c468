//! Raw images and block devices: the file's bytes are the disk's bytes, holes are zeros.

use std::fs::File;
use std::io::{self, Seek};
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::Disk;
use crate::util::error::{Context, Error, Result};

/// The least that can be read of a device, in bytes.
const SECTOR: usize = 512;

/// A raw image file or a block device.
#[derive(Debug)]
pub struct Raw {
    file: File,
    /// Where it was found; `None` for a file that came without a name.
    path: Option<PathBuf>,
    size: u64,
    sector_size: u32,
    writable: bool,
}

impl Raw {
    /// Opens an image or a device for reading.
    pub fn open(path: &Path) -> Result<Self> {
        let open =
            || -> Result<Self> { Ok(Self::from_file(File::open(path)?, false)?.named(path)) };
        open().context(|| format!("opening `{}`", path.display()))
    }

    /// Opens an image or a device for reading and writing.
    pub fn open_writable(path: &Path) -> Result<Self> {
        let open = || -> Result<Self> {
            let file = File::options().read(true).write(true).open(path)?;
            Ok(Self::from_file(file, true)?.named(path))
        };
        open().context(|| format!("opening `{}` for writing", path.display()))
    }

    /// Makes an image of `size` bytes, all of them holes, at a path where nothing is yet.
    pub fn create(path: &Path, size: u64) -> Result<Self> {
        let create = || -> Result<Self> {
            let file = File::options().read(true).write(true).create_new(true).open(path)?;
            file.set_len(size)?;
            Ok(Self::from_file(file, true)?.named(path))
        };
        create().context(|| format!("creating `{}`", path.display()))
    }

    /// An open file or block device as a disk; `Input` when it is neither.
    pub(crate) fn from_file(mut file: File, writable: bool) -> Result<Self> {
        let metadata = file.metadata()?;
        let kind = metadata.file_type();
        let (size, sector_size) = if kind.is_file() {
            (metadata.len(), 512)
        } else if kind.is_block_device() {
            let size = device_size(&mut file)?;
            if size == 0 {
                return Err(Error::input("the device is empty, or does not tell its size"));
            }
            (size, device_sector_size(&metadata))
        } else if kind.is_dir() {
            return Err(Error::input("it is a folder, not an image"));
        } else {
            return Err(Error::input("it is neither an image file nor a block device"));
        };
        Ok(Self { file, path: None, size, sector_size, writable })
    }

    pub(super) fn named(self, path: &Path) -> Self {
        Self { path: Some(path.to_owned()), ..self }
    }

    /// The file or device below.
    pub fn file(&self) -> &File {
        &self.file
    }
}

/// A device's size in bytes; 0 when it is empty. Linux tells where its end is. A Mac does not, but
/// its devices cannot be read past it.
fn device_size(file: &mut File) -> io::Result<u64> {
    let end = file.seek(io::SeekFrom::End(0))?;
    if end > 0 {
        return Ok(end);
    }
    let mut sector = [0; SECTOR];
    let sectors = count_sectors(
        |number| matches!(file.read_at(&mut sector, number * SECTOR as u64), Ok(read) if read > 0),
    );
    Ok(sectors * SECTOR as u64)
}

/// How many sectors there are, counted from 0 without a gap, when all one can do is try to read
/// one.
fn count_sectors(mut is_there: impl FnMut(u64) -> bool) -> u64 {
    const MOST: u64 = 1 << 50;
    let (mut some, mut too_many) = (0, 1);
    while too_many <= MOST && is_there(too_many - 1) {
        (some, too_many) = (too_many, too_many * 2);
    }
    while too_many - some > 1 {
        let middle = some + (too_many - some) / 2;
        if is_there(middle - 1) {
            some = middle;
        } else {
            too_many = middle;
        }
    }
    some
}

/// What the kernel says a drive's sectors are; partitions keep it with the drive they are on.
#[cfg(target_os = "linux")]
fn device_sector_size(metadata: &std::fs::Metadata) -> u32 {
    use std::os::unix::fs::MetadataExt;

    let device = metadata.rdev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let folder = format!("/sys/dev/block/{major}:{minor}");
    ["queue", "../queue"]
        .iter()
        .find_map(|queue| {
            let text = std::fs::read_to_string(format!("{folder}/{queue}/logical_block_size"));
            text.ok()?.trim().parse().ok()
        })
        .filter(|size| [512, 4096].contains(size))
        .unwrap_or(512)
}

#[cfg(not(target_os = "linux"))]
fn device_sector_size(_metadata: &std::fs::Metadata) -> u32 {
    512
}

impl Disk for Raw {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn location(&self) -> Option<(PathBuf, u64)> {
        Some((self.path.clone()?, 0))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn is_writable(&self) -> bool {
        self.writable
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        super::check_bounds(self.size, offset, data.len())?;
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
            Ok(_) | Err(Errno::NXIO) => Ok(None),
            // Devices, and file systems that know no holes: all of it is data.
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOTTY) => Ok(Some(from..self.size)),
            Err(error) => Err(error.into()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_not_data() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Raw::create(&folder.path().join("disk"), 10 << 20).unwrap();
        assert_eq!(disk.next_data(0).unwrap(), None);
        disk.write_at(&[1; 4096], 5 << 20).unwrap();
        let run = disk.next_data(0).unwrap().unwrap();
        assert!(run.start <= 5 << 20 && run.end >= (5 << 20) + 4096);
        assert!(run.end - run.start < 1 << 20, "{run:?}");
        assert_eq!(disk.next_data(run.end).unwrap(), None);
        assert_eq!(disk.next_data(u64::MAX).unwrap(), None);
    }

    #[test]
    fn sectors_are_counted_by_trying() {
        for size in [0, 1, 2, 3, 1000, 62_333_952, 1 << 40] {
            let mut tries = 0;
            let counted = count_sectors(|number| {
                tries += 1;
                number < size
            });
            assert_eq!(counted, size);
            assert!(tries < 100, "{tries}");
        }
    }

    #[test]
    fn nothing_reaches_past_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let disk = Raw::create(&path, 1000).unwrap();
        assert!(disk.write_at(&[1; 8], 996).is_err());
        assert!(disk.write_at(&[1; 8], u64::MAX - 4).is_err());
        assert!(disk.read_at(&mut [0; 8], 996).is_err());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 1000);
    }

    #[test]
    fn what_is_no_disk_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = Raw::open(folder.path()).err().unwrap();
        assert!(error.to_string().ends_with("it is a folder, not an image"), "{error}");
        let error = Raw::open(Path::new("/dev/null")).err().unwrap();
        assert!(error.to_string().contains("neither"), "{error}");
        assert!(Raw::open(&folder.path().join("missing")).is_err());
    }
}
