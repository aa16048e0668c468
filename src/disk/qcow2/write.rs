//! The writer: version 3, 64 KiB clusters, everything laid out before the first byte is written.

use std::io::{self, Write};
use std::iter::Peekable;

use super::BACKING_FORMAT;
use crate::disk::cluster::{CLUSTER, cluster_buffer};
use crate::disk::clusters::{Clusters, count};

/// "Exactly one reference": QEMU may write to the cluster in place.
const COPIED: u64 = 1 << 63;
/// Entries of a table that fills one cluster: 8 bytes each.
const TABLE_ENTRIES: u64 = CLUSTER / 8;
/// 16-bit reference counts in one cluster.
const BLOCK_ENTRIES: u64 = CLUSTER / 2;
/// The header's fields without extensions.
const HEADER_LENGTH: u32 = 104;
/// The longest name of a backing file the format allows.
const LONGEST_NAME: usize = 1023;

/// The image that answers for every cluster not written.
#[derive(Clone, Copy, Debug)]
pub struct Backing<'a> {
    /// Its name as QEMU is to look for it: relative to the image's own folder, or absolute.
    pub name: &'a str,
    /// Its format in QEMU's words: `raw`, `qcow2`, `vmdk`.
    pub format: &'a str,
}

/// Where everything goes, in clusters of the file.
struct Qcow2Layout {
    /// Clusters of the table of reference count blocks; it starts at cluster 1.
    refcount_table: u64,
    /// Reference count blocks, one cluster each, after their table.
    refcount_blocks: u64,
    /// Entries of the L1 table.
    l1_entries: u64,
    /// Clusters of the L1 table.
    l1: u64,
    /// L2 tables, one cluster each: only those that have an entry.
    l2: u64,
    /// Clusters of data, last in the file.
    data: u64,
}

impl Qcow2Layout {
    fn new(size: u64, clusters: &dyn Clusters) -> io::Result<Self> {
        let data = count(clusters, size)?;
        let l1_entries = size.div_ceil(CLUSTER * TABLE_ENTRIES);
        let mut layout = Self {
            refcount_table: 1,
            refcount_blocks: 1,
            l1_entries,
            l1: l1_entries.div_ceil(TABLE_ENTRIES),
            l2: groups(clusters, TABLE_ENTRIES).count() as u64,
            data,
        };
        // The reference counts count themselves, too: repeat until they fit.
        loop {
            let blocks = layout.end().div_ceil(BLOCK_ENTRIES);
            let table = blocks.div_ceil(TABLE_ENTRIES);
            if (table, blocks) == (layout.refcount_table, layout.refcount_blocks) {
                return Ok(layout);
            }
            (layout.refcount_table, layout.refcount_blocks) = (table, blocks);
        }
    }

    fn blocks_start(&self) -> u64 {
        1 + self.refcount_table
    }
    fn l1_start(&self) -> u64 {
        self.blocks_start() + self.refcount_blocks
    }
    fn l2_start(&self) -> u64 {
        self.l1_start() + self.l1
    }
    fn data_start(&self) -> u64 {
        self.l2_start() + self.l2
    }
    fn end(&self) -> u64 {
        self.data_start() + self.data
    }
}

/// Writes an image of `size` bytes that holds `clusters`; all else is the backing's, or zeros.
///
/// The same input gives the same bytes. `InvalidInput` when the size is not a multiple of 512,
/// a cluster lies outside, or the backing's name is too long.
pub fn write(
    out: &mut impl Write,
    size: u64,
    clusters: &impl Clusters,
    backing: Option<Backing<'_>>,
) -> io::Result<()> {
    if size == 0 || !size.is_multiple_of(512) || size > i64::MAX as u64 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a disk of {size} bytes is not made of 512-byte sectors"),
        ));
    }
    let layout = Qcow2Layout::new(size, clusters)?;
    out.write_all(&header(size, &layout, backing)?)?;
    write_table(out, (0..layout.refcount_blocks).map(|n| (layout.blocks_start() + n) * CLUSTER))?;
    write_refcounts(out, &layout)?;
    write_l1(out, &layout, clusters)?;
    write_l2(out, &layout, clusters)?;

    let mut buffer = cluster_buffer();
    for index in clusters.indexes() {
        clusters.read(index, &mut buffer)?;
        out.write_all(&buffer)?;
    }
    Ok(())
}

/// The first cluster: header, extensions, the backing's name.
fn header(size: u64, layout: &Qcow2Layout, backing: Option<Backing<'_>>) -> io::Result<Vec<u8>> {
    let mut extensions = Vec::new();
    let mut name = "";
    if let Some(backing) = backing {
        if backing.name.len() > LONGEST_NAME || backing.format.len() > 16 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the backing file's name is longer than {LONGEST_NAME} bytes"),
            ));
        }
        name = backing.name;
        extensions.extend(BACKING_FORMAT.to_be_bytes());
        extensions.extend(narrow(backing.format.len() as u64).to_be_bytes());
        extensions.extend(backing.format.as_bytes());
        extensions.resize(extensions.len().next_multiple_of(8), 0);
    }
    extensions.extend([0; 8]); // the extension that ends them
    let name_offset = if name.is_empty() { 0 } else { HEADER_LENGTH as usize + extensions.len() };

    let mut header = Vec::with_capacity(cluster_buffer().len());
    header.extend(b"QFI\xfb");
    header.extend(3u32.to_be_bytes());
    header.extend((name_offset as u64).to_be_bytes());
    header.extend(narrow(name.len() as u64).to_be_bytes());
    header.extend(CLUSTER.ilog2().to_be_bytes());
    header.extend(size.to_be_bytes());
    header.extend(0u32.to_be_bytes()); // not encrypted
    header.extend(narrow(layout.l1_entries).to_be_bytes());
    header.extend((layout.l1_start() * CLUSTER).to_be_bytes());
    header.extend(CLUSTER.to_be_bytes()); // the refcount table, at cluster 1
    header.extend(narrow(layout.refcount_table).to_be_bytes());
    header.extend([0; 4 + 8]); // no snapshots
    header.extend([0; 3 * 8]); // no feature bits of any kind
    header.extend(4u32.to_be_bytes()); // 2^4-bit reference counts
    header.extend(HEADER_LENGTH.to_be_bytes());
    header.extend(&extensions);
    header.extend(name.as_bytes());
    header.resize(cluster_buffer().len(), 0);
    Ok(header)
}

/// What the size checked at the start keeps below 2^32.
fn narrow(number: u64) -> u32 {
    u32::try_from(number).expect("tables of a 2^63-byte disk have fewer entries")
}

/// Writes 8-byte entries and fills the last cluster with zeros.
fn write_table(out: &mut impl Write, entries: impl Iterator<Item = u64>) -> io::Result<()> {
    let mut table = Vec::with_capacity(cluster_buffer().len());
    for entry in entries {
        table.extend(entry.to_be_bytes());
        if table.len() as u64 == CLUSTER {
            out.write_all(&table)?;
            table.clear();
        }
    }
    if !table.is_empty() {
        table.resize(cluster_buffer().len(), 0);
        out.write_all(&table)?;
    }
    Ok(())
}

/// Every cluster of the file is in use exactly once.
fn write_refcounts(out: &mut impl Write, layout: &Qcow2Layout) -> io::Result<()> {
    let one = 1u16.to_be_bytes();
    for block in 0..layout.refcount_blocks {
        let used = (layout.end() - block * BLOCK_ENTRIES).min(BLOCK_ENTRIES);
        let mut counts = one.repeat(usize::try_from(used).expect("at most one cluster"));
        counts.resize(cluster_buffer().len(), 0);
        out.write_all(&counts)?;
    }
    Ok(())
}

fn write_l1(out: &mut impl Write, layout: &Qcow2Layout, clusters: &dyn Clusters) -> io::Result<()> {
    let mut tables = groups(clusters, TABLE_ENTRIES).peekable();
    let mut next = layout.l2_start();
    write_table(
        out,
        (0..layout.l1_entries).map(|group| {
            if tables.next_if_eq(&group).is_none() {
                return 0;
            }
            next += 1;
            ((next - 1) * CLUSTER) | COPIED
        }),
    )
}

fn write_l2(out: &mut impl Write, layout: &Qcow2Layout, clusters: &dyn Clusters) -> io::Result<()> {
    let mut indexes = clusters.indexes().peekable();
    let mut next = layout.data_start();
    for group in groups(clusters, TABLE_ENTRIES) {
        let first = group * TABLE_ENTRIES;
        write_table(
            out,
            (first..first + TABLE_ENTRIES).map(|index| {
                if indexes.next_if_eq(&index).is_none() {
                    return 0;
                }
                next += 1;
                ((next - 1) * CLUSTER) | COPIED
            }),
        )?;
    }
    Ok(())
}

/// The groups of `length` clusters that have any, in rising order.
fn groups(clusters: &dyn Clusters, length: u64) -> impl Iterator<Item = u64> {
    let mut indexes: Peekable<_> = clusters.indexes().map(move |index| index / length).peekable();
    std::iter::from_fn(move || {
        let group = indexes.next()?;
        while indexes.next_if_eq(&group).is_some() {}
        Some(group)
    })
}
