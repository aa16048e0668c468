//! An initramfs: a cpio archive of the form "newc", which the kernel unpacks into memory.
//!
//! Source: Documentation/driver-api/early-userspace/buffer-format.rst.

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

const FOLDER: u32 = 0o040_755;
const LINK: u32 = 0o120_777;
const PROGRAM: u32 = 0o100_755;
const DEVICE: u32 = 0o020_600;
/// What the last entry is called.
const TRAILER: &str = "TRAILER!!!";

/// An archive being written. Everything in it is root's.
pub(super) struct Cpio<W: Write> {
    to: W,
    inode: u32,
}

impl<W: Write> Cpio<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to, inode: 0 }
    }

    pub(super) fn folder(&mut self, path: &str) -> io::Result<()> {
        self.entry(Path::new(path), FOLDER, (0, 0), 0, &mut io::empty())
    }

    pub(super) fn link(&mut self, path: &Path, target: &Path) -> io::Result<()> {
        let target = target.as_os_str().as_bytes();
        self.entry(path, LINK, (0, 0), target.len() as u64, &mut &*target)
    }

    /// A file that can be run.
    pub(super) fn file(&mut self, path: &Path, size: u64, from: &mut dyn Read) -> io::Result<()> {
        self.entry(path, PROGRAM, (0, 0), size, from)
    }

    /// A character device.
    pub(super) fn device(&mut self, path: &str, number: (u32, u32)) -> io::Result<()> {
        self.entry(Path::new(path), DEVICE, number, 0, &mut io::empty())
    }

    /// Ends the archive; another may follow it.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.inode = 0;
        self.entry(Path::new(TRAILER), 0, (0, 0), 0, &mut io::empty())?;
        Ok(self.to)
    }

    fn entry(
        &mut self,
        path: &Path,
        mode: u32,
        (major, minor): (u32, u32),
        size: u64,
        from: &mut dyn Read,
    ) -> io::Result<()> {
        let name = path.as_os_str().as_bytes();
        let length = u32::try_from(size).map_err(|_| io::ErrorKind::InvalidInput)?;
        let name_length = u32::try_from(name.len() + 1).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.inode += 1;
        // Inode, mode, uid, gid, links, time, length, the disk's device, the device, the name, a checksum.
        let numbers = [self.inode, mode, 0, 0, 1, 0, length, 0, 0, major, minor, name_length, 0];
        let mut header = String::from("070701");
        for number in numbers {
            header.push_str(&format!("{number:08x}"));
        }
        self.to.write_all(header.as_bytes())?;
        self.to.write_all(name)?;
        self.to.write_all(&[0])?;
        self.pad(header.len() + name.len() + 1)?;
        let copied = io::copy(&mut from.take(size), &mut self.to)?;
        if copied != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.pad(usize::try_from(size % 4).expect("less than 4"))
    }

    /// Fills up to four bytes.
    fn pad(&mut self, length: usize) -> io::Result<()> {
        self.to.write_all(&[0; 3][..(4 - length % 4) % 4])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_begins_at_four_bytes() {
        let mut cpio = Cpio::new(Vec::new());
        cpio.folder("usr").unwrap();
        cpio.file(Path::new("usr/hello"), 5, &mut &b"hello"[..]).unwrap();
        cpio.link(Path::new("bin"), Path::new("usr/bin")).unwrap();
        let bytes = cpio.finish().unwrap();
        let magic = |window: &(usize, &[u8])| window.1 == b"070701";
        let starts: Vec<usize> =
            bytes.windows(6).enumerate().filter(magic).map(|it| it.0).collect();
        assert_eq!(starts.len(), 4);
        assert!(starts.iter().all(|it| it % 4 == 0) && bytes.len() % 4 == 0, "{starts:?}");
        let file = &bytes[starts[1]..starts[2]];
        assert_eq!(&file[..14], b"07070100000002");
        assert_eq!(&file[14..22], b"000081ed");
        assert_eq!(&file[110..120], b"usr/hello\0");
        assert_eq!(&file[120..], b"hello\0\0\0");
        let short = Cpio::new(Vec::new()).file(Path::new("a"), 5, &mut &b"four"[..]);
        assert!(short.is_err());
    }
}
