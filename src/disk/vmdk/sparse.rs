//! A sparse extent: a file of grains that its tables put in place.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, PoisonError, RwLock};

use flate2::bufread::ZlibDecoder;

use super::{SECTOR, TABLE_ENTRIES};
use crate::disk::layered::{ByteSource, damaged};

/// Flags of the header.
const ZERO_GRAINS: u32 = 1 << 2;
const COMPRESSED: u32 = 1 << 16;
/// `gdOffset` of an extent whose directory is found through a footer.
const AT_END: u64 = u64::MAX;
/// A grain that reads as zeros, when the flag says so.
const ZERO_GRAIN: u32 = 1;
/// The largest grain in sectors that is believed, and the longest directory: 32 TiB of our grains.
const LARGEST_GRAIN: u64 = 4096;
const LONGEST_DIRECTORY: u64 = 1 << 20;
/// The longest descriptor in sectors.
const LONGEST_DESCRIPTOR: u64 = 2048;
/// Grain tables kept in memory: 2 KiB each, 32 MiB of disk for our grains.
const TABLES_KEPT: usize = 2048;

/// An open sparse extent.
pub(super) struct Sparse {
    file: File,
    /// Bytes of the file.
    length: u64,
    header: SparseHeader,
    /// First sectors of the grain tables; 0 for one that is not there.
    directory: Vec<u32>,
    tables: RwLock<BTreeMap<u64, Arc<[u32]>>>,
    /// The compressed grain read last, by its first sector in the file.
    unpacked: RwLock<Option<(u32, Arc<Vec<u8>>)>>,
}

/// What is used of `SparseExtentHeader`; offsets and sizes in sectors.
#[derive(Clone, Copy, Debug)]
struct SparseHeader {
    flags: u32,
    capacity: u64,
    grain: u64,
    descriptor_offset: u64,
    descriptor_size: u64,
    directory_offset: u64,
}

impl SparseHeader {
    fn read(file: &File, offset: u64) -> io::Result<Self> {
        let mut bytes = [0; 512];
        file.read_exact_at(&mut bytes, offset)?;
        if !bytes.starts_with(b"KDMV") {
            return Err(damaged("the header of a sparse extent is missing"));
        }
        let u32_at = |at: usize| {
            let [a, b, c, d] = std::array::from_fn(|index| bytes[at + index]);
            u32::from_le_bytes([a, b, c, d])
        };
        let u64_at = |at| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let (version, flags, compression) = (u32_at(4), u32_at(8), bytes[77]);
        if !(1..=3).contains(&version) {
            return Err(damaged(format!("version {version} of sparse extents is not known")));
        }
        if flags & COMPRESSED != 0 && compression != 1 {
            return Err(damaged(format!("compression method {compression} is not known")));
        }
        // Mangled by a transfer that took it for text.
        if flags & 1 != 0 && bytes[73..77] != *b"\n \r\n" {
            return Err(damaged("line ends were changed in a transfer of the file"));
        }
        if u32_at(44) != TABLE_ENTRIES {
            return Err(damaged(format!("grain tables with {} entries", u32_at(44))));
        }
        let header = Self {
            flags,
            capacity: u64_at(12),
            grain: u64_at(20),
            descriptor_offset: u64_at(28),
            descriptor_size: u64_at(36),
            directory_offset: u64_at(56),
        };
        if !header.grain.is_power_of_two() || header.grain > LARGEST_GRAIN {
            return Err(damaged(format!("grains of {} sectors", header.grain)));
        }
        if header.tables() > LONGEST_DIRECTORY {
            return Err(damaged(format!("a disk of {} sectors", header.capacity)));
        }
        Ok(header)
    }

    /// Grain tables that the capacity needs.
    fn tables(&self) -> u64 {
        self.capacity.div_ceil(self.grain).div_ceil(TABLE_ENTRIES.into())
    }
}

impl Sparse {
    /// Reads header and directory.
    pub(super) fn open(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut header = SparseHeader::read(&file, 0)?;
        if header.directory_offset == AT_END {
            // The footer, and after it the end-of-stream marker.
            let footer = length.checked_sub(2 * SECTOR).ok_or_else(cut_short)?;
            let footer = SparseHeader::read(&file, footer).map_err(|_| cut_short())?;
            header.directory_offset = footer.directory_offset;
        }
        let count = usize::try_from(header.tables()).map_err(io::Error::other)?;
        let directory = read_entries(&file, length, header.directory_offset, count)?;
        let (tables, unpacked) = (RwLock::default(), RwLock::default());
        Ok(Self { file, length, header, directory, tables, unpacked })
    }

    /// Sectors of the disk.
    pub(super) fn capacity(&self) -> u64 {
        self.header.capacity
    }

    /// The descriptor inside the file; `None` when it has none.
    pub(super) fn descriptor(&self) -> io::Result<Option<Vec<u8>>> {
        let (offset, size) = (self.header.descriptor_offset, self.header.descriptor_size);
        if offset == 0 || size == 0 {
            return Ok(None);
        }
        if size > LONGEST_DESCRIPTOR {
            return Err(damaged("its descriptor is too long"));
        }
        let start = in_file(self.length, offset, size * SECTOR)?;
        let mut text = vec![0; usize::try_from(size * SECTOR).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut text, start)?;
        Ok(Some(text))
    }

    /// Where the bytes from `offset` of the extent are, and how many of them.
    /// What is here is named by the first sector of its grain.
    pub(super) fn source(&self, offset: u64) -> io::Result<(ByteSource, u64)> {
        let grain_bytes = self.header.grain * SECTOR;
        let grain = offset / grain_bytes;
        let (table, entry) = (grain / u64::from(TABLE_ENTRIES), grain % u64::from(TABLE_ENTRIES));
        let Some(entries) = self.table(table)? else {
            let end = (table + 1) * u64::from(TABLE_ENTRIES) * grain_bytes;
            return Ok((ByteSource::Below, end - offset));
        };
        let left = grain_bytes - offset % grain_bytes;
        let entry = usize::try_from(entry).ok().and_then(|entry| entries.get(entry));
        Ok(match *entry.ok_or_else(|| damaged("a grain table is too short"))? {
            0 => (ByteSource::Below, left),
            ZERO_GRAIN if self.header.flags & ZERO_GRAINS != 0 => (ByteSource::Zeros, left),
            sector => (ByteSource::Here(sector.into()), left),
        })
    }

    /// Fills `buffer` from `offset` of the extent, which is in the grain at `sector` of the file
    /// and does not leave it.
    pub(super) fn read(&self, buffer: &mut [u8], sector: u64, offset: u64) -> io::Result<()> {
        let grain_bytes = self.header.grain * SECTOR;
        let within = offset % grain_bytes;
        if self.header.flags & COMPRESSED == 0 {
            let start = in_file(self.length, sector, within + buffer.len() as u64)?;
            return self.file.read_exact_at(buffer, start + within);
        }
        let sector = u32::try_from(sector).map_err(io::Error::other)?;
        let grain = self.unpacked(sector, offset / grain_bytes)?;
        let start = usize::try_from(within).map_err(io::Error::other)?;
        let part = grain.get(start..start + buffer.len());
        buffer.copy_from_slice(part.ok_or_else(|| damaged("a grain is too short"))?);
        Ok(())
    }

    fn table(&self, index: u64) -> io::Result<Option<Arc<[u32]>>> {
        let start = usize::try_from(index).ok().and_then(|index| self.directory.get(index));
        let start = *start.ok_or_else(|| damaged("the grain directory is too short"))?;
        if start == 0 {
            return Ok(None);
        }
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(entries) = tables.get(&index) {
            return Ok(Some(Arc::clone(entries)));
        }
        drop(tables);
        let entries = read_entries(&self.file, self.length, start.into(), TABLE_ENTRIES as usize)?;
        let entries: Arc<[u32]> = entries.into();
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        if tables.len() >= TABLES_KEPT {
            tables.pop_first();
        }
        tables.insert(index, Arc::clone(&entries));
        Ok(Some(entries))
    }

    /// A compressed grain: number of its first sector on the disk, length, zlib data.
    fn unpacked(&self, sector: u32, index: u64) -> io::Result<Arc<Vec<u8>>> {
        let held = self.unpacked.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, grain)) = held.filter(|(held, _)| *held == sector) {
            return Ok(grain);
        }
        let start = in_file(self.length, sector.into(), 12)?;
        let mut marker = [0; 12];
        self.file.read_exact_at(&mut marker, start)?;
        let [number @ .., a, b, c, d] = marker;
        if u64::from_le_bytes(number) != index * self.header.grain {
            return Err(damaged("a compressed grain is not where it should be"));
        }
        let grain_bytes = self.header.grain * SECTOR;
        let length = u64::from(u32::from_le_bytes([a, b, c, d]));
        // What cannot be packed grows by some bytes only.
        if length > 2 * grain_bytes || start + 12 + length > self.length {
            return Err(damaged("a compressed grain is cut short"));
        }
        let mut packed = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut packed, start + 12)?;
        let mut grain = Vec::new();
        ZlibDecoder::new(packed.as_slice()).take(grain_bytes).read_to_end(&mut grain)?;
        // The last grain may end where the disk does.
        let left = (self.header.capacity - index * self.header.grain) * SECTOR;
        if (grain.len() as u64) < grain_bytes.min(left) {
            return Err(damaged("a compressed grain is cut short"));
        }
        let grain = Arc::new(grain);
        let mut unpacked = self.unpacked.write().unwrap_or_else(PoisonError::into_inner);
        *unpacked = Some((sector, Arc::clone(&grain)));
        Ok(grain)
    }
}

/// Reads `count` 32-bit entries from `sector` on.
fn read_entries(file: &File, length: u64, sector: u64, count: usize) -> io::Result<Vec<u32>> {
    let start = in_file(length, sector, count as u64 * 4)?;
    let mut bytes = vec![0; count * 4];
    file.read_exact_at(&mut bytes, start)?;
    Ok(bytes.as_chunks::<4>().0.iter().map(|entry| u32::from_le_bytes(*entry)).collect())
}

/// The byte at which `sector` starts, after checking that `bytes` from there are in the file.
fn in_file(length: u64, sector: u64, bytes: u64) -> io::Result<u64> {
    sector
        .checked_mul(SECTOR)
        .filter(|start| start.checked_add(bytes).is_some_and(|end| end <= length))
        .ok_or_else(cut_short)
}

fn cut_short() -> io::Error {
    damaged("the image is cut short")
}
