//! A device in memory that fails as real ones do.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;

use rustix::io::Errno;

use super::target::Target;

pub(super) const SECTOR: u32 = 512;

/// What is wrong with a device. Nothing, by default.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// Sectors that cannot be written.
    pub(super) bad: BTreeSet<u64>,
    /// Sectors that take writes and keep what they had.
    pub(super) stuck: BTreeSet<u64>,
    /// Bytes that the device really has: beyond them, writes wrap round as on forged cards.
    pub(super) real_size: Option<u64>,
    /// Sectors at most taken by one write.
    pub(super) short: Option<usize>,
    /// After so many calls it is pulled.
    pub(super) pulled_after: Option<usize>,
    /// It has no way to clear.
    pub(super) cannot_clear: bool,
    /// Every so many reads and writes a signal comes first.
    pub(super) interrupted_every: Option<usize>,
}

/// Bytes, with what the medium holds and what only the drive's cache does.
pub(super) struct Faulty {
    pub(super) faults: Faults,
    /// What survives a power loss.
    pub(super) medium: Vec<u8>,
    /// What a read returns.
    cache: Vec<u8>,
    /// Writes since the last sync.
    unsynced: Vec<Range<usize>>,
    calls: usize,
    /// What the medium held after each sync, and before it: at a power loss there may be either,
    /// or any mixture.
    pub(super) on_sync: Option<OnSync>,
    pub(super) written: u64,
}

type OnSync = Box<dyn FnMut(&[u8], &[u8]) + Send>;

impl Faulty {
    pub(super) fn new(old: Vec<u8>, faults: Faults) -> Self {
        Self {
            faults,
            cache: old.clone(),
            medium: old,
            unsynced: Vec::new(),
            calls: 0,
            on_sync: None,
            written: 0,
        }
    }

    fn call(&mut self) -> io::Result<()> {
        self.calls += 1;
        match self.faults.pulled_after {
            Some(calls) if self.calls > calls => Err(Errno::NODEV.into()),
            _ => Ok(()),
        }
    }

    fn transfer(&mut self) -> io::Result<()> {
        self.call()?;
        match self.faults.interrupted_every {
            Some(every) if self.calls.is_multiple_of(every) => Err(Errno::INTR.into()),
            _ => Ok(()),
        }
    }

    fn real(&self, offset: u64) -> u64 {
        self.faults.real_size.map_or(offset, |size| offset % size)
    }
}

fn sectors(offset: u64, length: usize) -> Range<u64> {
    assert_eq!(offset % u64::from(SECTOR), 0, "an unaligned offset");
    assert_eq!(length % SECTOR as usize, 0, "an unaligned length");
    offset / u64::from(SECTOR)..(offset + length as u64) / u64::from(SECTOR)
}

fn bytes_of(sector: u64) -> Range<usize> {
    let start = usize::try_from(sector * u64::from(SECTOR)).unwrap();
    start..start + SECTOR as usize
}

impl Target for Faulty {
    fn size(&self) -> u64 {
        self.cache.len() as u64
    }

    fn sector_size(&self) -> u32 {
        SECTOR
    }

    fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<usize> {
        self.transfer()?;
        assert!(data.as_ptr().align_offset(512) == 0, "O_DIRECT wants aligned memory");
        let limit = self.faults.short.unwrap_or(usize::MAX);
        let mut written = 0;
        for sector in sectors(offset, data.len()).take(limit) {
            if self.faults.bad.contains(&sector) {
                // As the kernel does: what came before is done.
                return if written == 0 { Err(Errno::IO.into()) } else { Ok(written) };
            }
            let from = &data[written..][..SECTOR as usize];
            written += SECTOR as usize;
            if !self.faults.stuck.contains(&sector) {
                let to = bytes_of(self.real(sector * u64::from(SECTOR)) / u64::from(SECTOR));
                self.cache[to.clone()].copy_from_slice(from);
                self.unsynced.push(to);
            }
        }
        self.written += written as u64;
        Ok(written)
    }

    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.transfer()?;
        let mut read = 0;
        for sector in sectors(offset, buffer.len()).take(self.faults.short.unwrap_or(usize::MAX)) {
            let from = bytes_of(self.real(sector * u64::from(SECTOR)) / u64::from(SECTOR));
            buffer[read..read + SECTOR as usize].copy_from_slice(&self.cache[from]);
            read += SECTOR as usize;
        }
        Ok(read)
    }

    fn clear(&mut self, range: Range<u64>) -> io::Result<bool> {
        if self.faults.cannot_clear {
            return Ok(false);
        }
        self.call()?;
        for sector in sectors(range.start, usize::try_from(range.end - range.start).unwrap()) {
            let to = bytes_of(self.real(sector * u64::from(SECTOR)) / u64::from(SECTOR));
            self.cache[to.clone()].fill(0);
            self.unsynced.push(to);
        }
        Ok(true)
    }

    /// Every other sector is forgotten, and holds rubbish afterwards: it must not be relied on.
    fn discard(&mut self, range: Range<u64>) {
        for sector in sectors(range.start, usize::try_from(range.end - range.start).unwrap()) {
            if sector % 2 == 0 {
                self.cache[bytes_of(sector)].fill(0xd5);
                self.unsynced.push(bytes_of(sector));
            }
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.call()?;
        if let Some(watch) = &mut self.on_sync {
            watch(&self.medium, &self.cache);
        }
        for range in self.unsynced.drain(..) {
            self.medium[range.clone()].copy_from_slice(&self.cache[range]);
        }
        Ok(())
    }

    fn forget(&mut self) -> io::Result<()> {
        self.call()
    }
}
