//! streamOptimized: compressed grains one after the other, as OVAs hold them.
//!
//! The layout is that of open-vmdk, VMware's own writer: tables at the front, version 3, and
//! an end-of-stream marker after the last grain. VMware's importers refuse what lacks any of them.

use std::io::{self, Seek, SeekFrom, Write};

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::image::VmdkSpec;
use super::write::{
    NEWLINE_TEST, VmdkLayout, WrittenHeader, check_size, invalid, too_large, write_entries,
};
use super::{DESCRIPTOR, GRAIN, SECTOR, TABLE_ENTRIES, TABLE_SECTORS};
use crate::disk::cluster::cluster_buffer;
use crate::disk::clusters::{Clusters, count, is_zero};
use crate::disk::vmdk::descriptor;
use crate::util::error::Result;
use crate::util::in_order;

/// Bits of the header's flags: grains are compressed, and begin with where they belong.
const COMPRESSED: u32 = 1 << 16;
const MARKERS: u32 = 1 << 17;

/// Grains that one thread packs at once.
const BATCH: usize = 64;

/// [`SECTOR`] for lengths in memory.
const SECTOR_BYTES: usize = 512;

/// Writes a disk that holds `clusters`, packed on all processors, from the start of `out`.
///
/// The same input gives the same bytes. Errors as those of [`super::write`], and `InvalidInput` for
/// a disk with a parent: this format has none.
pub fn write_stream(
    out: &mut (impl Write + Seek),
    image: &VmdkSpec<'_>,
    clusters: &(impl Clusters + Sync),
) -> Result<()> {
    check_size(image)?;
    count(clusters, image.size)?;
    if image.parent.is_some() {
        return Err(invalid("a streamOptimized VMDK has no parent".to_owned()).into());
    }
    let layout = VmdkLayout::new(image.size);
    let directory = DESCRIPTOR.end;
    let overhead = directory + layout.copy();

    let indexes: Vec<u64> = clusters.indexes().collect();
    let batches: Vec<&[u64]> = indexes.chunks(BATCH).collect();
    let entries = layout.tables * u64::from(TABLE_ENTRIES);
    let mut places = vec![0_u32; usize::try_from(entries).expect("below 2^26")];
    let mut next = overhead;
    out.seek(SeekFrom::Start(overhead * SECTOR))?;
    in_order::in_order(
        batches.len(),
        |number| {
            batches[number].iter().map(|index| Ok((*index, pack(clusters, *index)?))).collect()
        },
        |grains: Vec<(u64, Vec<u8>)>| {
            for (index, bytes) in grains.into_iter().filter(|(_, bytes)| !bytes.is_empty()) {
                out.write_all(&bytes)?;
                let place = u32::try_from(next).map_err(|_| too_large())?;
                places[usize::try_from(index).expect("counted")] = place;
                next += bytes.len() as u64 / SECTOR;
            }
            Ok(())
        },
    )?;
    // A marker that says nothing: the end of the stream.
    out.write_all(&[0; SECTOR_BYTES])?;

    let header = WrittenHeader {
        version: 3,
        flags: NEWLINE_TEST | COMPRESSED | MARKERS,
        size: image.size,
        redundant: 0,
        directory,
        grains: overhead,
        compression: 1,
    };
    out.seek(SeekFrom::Start(0))?;
    out.write_all(&header.bytes())?;
    out.write_all(&descriptor::render(image, "streamOptimized")?)?;
    let tables = directory + layout.directory;
    write_entries(out, (0..layout.tables).map(|table| tables + table * TABLE_SECTORS))?;
    for table in places.chunks(TABLE_ENTRIES as usize) {
        write_entries(out, table.iter().map(|place| (*place).into()))?;
    }
    Ok(())
}

/// A grain with its marker, in whole sectors; nothing for one of zeros.
fn pack(clusters: &impl Clusters, index: u64) -> io::Result<Vec<u8>> {
    let mut grain = cluster_buffer();
    clusters.read(index, &mut grain)?;
    if is_zero(&grain) {
        return Ok(Vec::new());
    }
    let mut bytes = Vec::with_capacity(grain.len());
    bytes.extend((index * GRAIN).to_le_bytes());
    bytes.extend([0; 4]);
    let start = bytes.len();
    let mut encoder = ZlibEncoder::new(bytes, Compression::default());
    encoder.write_all(&grain)?;
    let mut bytes = encoder.finish()?;
    let length = u32::try_from(bytes.len() - start).expect("a packed grain is small");
    bytes[start - 4..start].copy_from_slice(&length.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(SECTOR_BYTES), 0);
    Ok(bytes)
}
