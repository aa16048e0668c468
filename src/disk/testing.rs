//! What tests of disks share: a disk in memory, and judges we did not write.

use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::RwLock;

use super::Disk;

/// A disk in memory.
pub(crate) struct Memory {
    bytes: RwLock<Vec<u8>>,
    sector_size: u32,
}

impl Memory {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: RwLock::new(bytes), sector_size: 512 }
    }

    pub(crate) fn with_sector_size(mut self, sector_size: u32) -> Self {
        self.sector_size = sector_size;
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes.read().expect("no test panicked").clone()
    }
}

fn range(size: usize, offset: u64, length: usize) -> io::Result<std::ops::Range<usize>> {
    usize::try_from(offset)
        .ok()
        .and_then(|start| Some(start..start.checked_add(length)?))
        .filter(|range| range.end <= size)
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

impl Disk for Memory {
    fn size(&self) -> u64 {
        self.bytes.read().expect("no test panicked").len() as u64
    }

    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn is_writable(&self) -> bool {
        true
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.bytes.read().expect("no test panicked");
        buffer.copy_from_slice(&bytes[range(bytes.len(), offset, buffer.len())?]);
        Ok(())
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = self.bytes.write().expect("no test panicked");
        let range = range(bytes.len(), offset, data.len())?;
        bytes[range].copy_from_slice(data);
        Ok(())
    }
}

/// All bytes of a disk.
pub(crate) fn contents(disk: &dyn Disk) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(disk.size()).expect("tests use small disks")];
    disk.read_at(&mut bytes, 0).expect("the disk reads");
    bytes
}

/// Runs a tool that must succeed, and returns what it printed on stdout.
pub(crate) fn tool(folder: &Path, command: &str, arguments: &[&str]) -> String {
    let (success, text) = try_tool(folder, command, arguments);
    assert!(success, "{command} {arguments:?}: {text}");
    text
}

/// Runs a tool; returns whether it succeeded, and what it printed.
pub(crate) fn try_tool(folder: &Path, command: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(command)
        .args(arguments)
        .current_dir(folder)
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|error| panic!("`{command}` must be installed for the tests: {error}"));
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

/// Damages bytes, the same way in every run.
pub(crate) struct Vandal(u64);

impl Vandal {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number below `limit` (xorshift64*).
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).expect("31 bits") % limit
    }

    /// Overwrites one to four fields at the places given with what parsers stumble over.
    pub(crate) fn damage(&mut self, bytes: &mut [u8], places: &[std::ops::Range<usize>]) {
        for _ in 0..=self.below(4) {
            let place = &places[self.below(places.len())];
            let at = place.start + self.below(place.len());
            let width = [1, 1, 2, 4, 8][self.below(5)];
            let values =
                [0, 1, 2, u64::MAX, 1 << 31, 1 << 63, 0x7fff_ffff, 0xffff_fffe, 512, 65536];
            let value = match self.below(4) {
                0 => self.below(1 << 16) as u64,
                1 => u64::from(bytes[at]) ^ (1 << self.below(8)),
                _ => values[self.below(values.len())],
            };
            let value = if self.below(2) == 0 { value.to_le_bytes() } else { value.to_be_bytes() };
            let value = if value[0] == 0 { &value[8 - width..] } else { &value[..width] };
            let end = (at + width).min(bytes.len());
            bytes[at..end].copy_from_slice(&value[..end - at]);
        }
    }
}
