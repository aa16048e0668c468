//! The writer: monolithicSparse, the one kind that every VMware product and QEMU read and write.

use std::io::{self, Write};

use super::image::VmdkSpec;
use super::{DESCRIPTOR, GRAIN, SECTOR, TABLE_ENTRIES, TABLE_SECTORS};
use crate::disk::cluster::{CLUSTER, cluster_buffer};
use crate::disk::clusters::{Clusters, count};
use crate::disk::vmdk::descriptor;

/// The sector of the redundant grain directory.
const REDUNDANT: u64 = DESCRIPTOR.end;

/// Where the rest goes, in sectors of the file.
pub(super) struct VmdkLayout {
    /// Grain tables, all of which are there, used or not.
    pub(super) tables: u64,
    /// Sectors of a grain directory: 4 bytes a table.
    pub(super) directory: u64,
}

impl VmdkLayout {
    pub(super) fn new(size: u64) -> Self {
        let tables = (size / CLUSTER).div_ceil(TABLE_ENTRIES.into());
        Self { tables, directory: (tables * 4).div_ceil(SECTOR) }
    }

    /// Sectors of a directory with its tables.
    pub(super) fn copy(&self) -> u64 {
        self.directory + self.tables * TABLE_SECTORS
    }

    /// The grain directory.
    fn primary(&self) -> u64 {
        REDUNDANT + self.copy()
    }

    /// The first grain.
    fn grains(&self) -> u64 {
        (self.primary() + self.copy()).next_multiple_of(GRAIN)
    }
}

/// Writes a disk that holds `clusters`.
///
/// A cluster of zeros is written as a grain of zeros: that is how a child hides its parent's
/// data. The same input gives the same bytes. `InvalidInput` for a size VMDK cannot have, for
/// clusters outside it, and for names it cannot quote.
pub fn write(
    out: &mut impl Write,
    image: &VmdkSpec<'_>,
    clusters: &impl Clusters,
) -> io::Result<()> {
    check_size(image)?;
    let layout = VmdkLayout::new(image.size);
    let grains = count(clusters, image.size)?;
    if layout.grains() + grains * GRAIN > u64::from(u32::MAX) {
        return Err(too_large());
    }

    let header = WrittenHeader {
        version: 1,
        flags: NEWLINE_TEST | REDUNDANT_DIRECTORY,
        size: image.size,
        redundant: REDUNDANT,
        directory: layout.primary(),
        grains: layout.grains(),
        compression: 0,
    };
    out.write_all(&header.bytes())?;
    out.write_all(&descriptor::render(image, "monolithicSparse")?)?;
    write_directory(out, &layout, REDUNDANT, clusters)?;
    write_directory(out, &layout, layout.primary(), clusters)?;
    let gap = layout.grains() - layout.primary() - layout.copy();
    out.write_all(&cluster_buffer()[..usize::try_from(gap * SECTOR).expect("below a grain")])?;

    let mut buffer = cluster_buffer();
    for index in clusters.indexes() {
        clusters.read(index, &mut buffer)?;
        out.write_all(&buffer)?;
    }
    Ok(())
}

/// What every writer relies on.
pub(super) fn check_size(image: &VmdkSpec<'_>) -> io::Result<()> {
    let size = image.size;
    if size == 0 || !size.is_multiple_of(CLUSTER) {
        return Err(invalid(format!("a VMDK of {size} bytes is not made of whole 64 KiB grains")));
    }
    // Grain tables count sectors in 32 bits.
    if size / SECTOR > u64::from(u32::MAX) { Err(too_large()) } else { Ok(()) }
}

/// Bits of [`WrittenHeader::flags`].
pub(super) const NEWLINE_TEST: u32 = 1;
const REDUNDANT_DIRECTORY: u32 = 1 << 1;

/// `SparseExtentHeader`, as far as disks of ours differ in it.
pub(super) struct WrittenHeader {
    pub(super) version: u32,
    pub(super) flags: u32,
    /// Of the disk, in bytes.
    pub(super) size: u64,
    /// The sectors of both grain directories, and of the first grain.
    pub(super) redundant: u64,
    pub(super) directory: u64,
    pub(super) grains: u64,
    /// 0, or 1 for RFC 1951.
    pub(super) compression: u16,
}

impl WrittenHeader {
    /// One sector.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut header = Vec::new();
        header.extend(b"KDMV");
        header.extend(self.version.to_le_bytes());
        header.extend(self.flags.to_le_bytes());
        header.extend((self.size / SECTOR).to_le_bytes());
        header.extend(GRAIN.to_le_bytes());
        header.extend(DESCRIPTOR.start.to_le_bytes());
        header.extend((DESCRIPTOR.end - DESCRIPTOR.start).to_le_bytes());
        header.extend(TABLE_ENTRIES.to_le_bytes());
        header.extend(self.redundant.to_le_bytes());
        header.extend(self.directory.to_le_bytes());
        header.extend(self.grains.to_le_bytes());
        header.push(0); // shut down cleanly
        header.extend(b"\n \r\n"); // shows whether a transfer as text has mangled the file
        header.extend(self.compression.to_le_bytes());
        header.resize(512, 0);
        header
    }
}

/// A grain directory at sector `start`, and its grain tables after it.
fn write_directory(
    out: &mut impl Write,
    layout: &VmdkLayout,
    start: u64,
    clusters: &dyn Clusters,
) -> io::Result<()> {
    let first = start + layout.directory;
    write_entries(out, (0..layout.tables).map(|table| first + table * TABLE_SECTORS))?;

    let mut indexes = clusters.indexes().peekable();
    let mut next = layout.grains();
    for table in 0..layout.tables {
        let first = table * u64::from(TABLE_ENTRIES);
        write_entries(
            out,
            (first..first + u64::from(TABLE_ENTRIES)).map(|grain| {
                if indexes.next_if_eq(&grain).is_none() {
                    return 0;
                }
                next += GRAIN;
                next - GRAIN
            }),
        )?;
    }
    Ok(())
}

/// Writes 4-byte entries and fills the last sector with zeros.
pub(super) fn write_entries(
    out: &mut impl Write,
    entries: impl Iterator<Item = u64>,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend(u32::try_from(entry).expect("checked to be below 2 TiB").to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    out.write_all(&bytes)
}

pub(super) fn too_large() -> io::Error {
    invalid("a VMDK must be smaller than 2 TiB".to_owned())
}

pub(super) fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
