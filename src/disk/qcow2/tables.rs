//! The tables: where each cluster of the disk is in the file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, PoisonError, RwLock};

use super::header::{Header, OFFSET};
use crate::disk::layered::{ByteSource, damaged};

/// An entry of a compressed cluster. No offset in a file is so large: as a place, it is such an entry.
pub(super) const PACKED: u64 = 1 << 62;
/// An entry of a cluster that reads as zeros, since version 3.
const ZEROS: u64 = 1;
/// Subclusters in a cluster, when there are any.
const SUBCLUSTERS: u64 = 32;
/// Bytes of L2 tables that are kept in memory.
const KEPT: u64 = 16 << 20;

/// The tables of an image.
pub(super) struct Tables {
    header: Header,
    cache: RwLock<BTreeMap<u64, Arc<[u64]>>>,
}

impl Tables {
    /// Those that a header leads to.
    pub(super) fn new(header: Header) -> Self {
        Self { header, cache: RwLock::default() }
    }

    /// The header.
    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// Where the bytes from `offset` are, and for how many, up to about `wanted`, that holds.
    pub(super) fn source(
        &self,
        file: &File,
        offset: u64,
        wanted: u64,
    ) -> io::Result<(ByteSource, u64)> {
        let (first, mut length) = self.source_in_cluster(file, offset)?;
        // As long as it goes on in the same way.
        while length < wanted && offset + length < self.header.size {
            let (next, more) = self.source_in_cluster(file, offset + length)?;
            let goes_on = match (first, next) {
                (ByteSource::Here(from), ByteSource::Here(to)) => {
                    from & PACKED == 0 && to == from + length
                }
                (ByteSource::Zeros, ByteSource::Zeros) | (ByteSource::Below, ByteSource::Below) => {
                    true
                }
                (ByteSource::Here(_) | ByteSource::Zeros | ByteSource::Below, _) => false,
            };
            if !goes_on {
                break;
            }
            length += more;
        }
        Ok((first, length))
    }

    /// The same, within a cluster; where there is no table, within what the table would be for.
    fn source_in_cluster(&self, file: &File, offset: u64) -> io::Result<(ByteSource, u64)> {
        let cluster = self.header.cluster_size();
        let words = self.header.words_of_entry();
        let entries = self.header.table_entries();
        let (index, within) = (offset / cluster, offset % cluster);
        let l1 = usize::try_from(index / entries).map_err(io::Error::other)?;
        let l1 = self.header.l1.get(l1).ok_or_else(|| damaged("its L1 table is too short"))?;
        if l1 & OFFSET == 0 {
            let end = (index / entries + 1) * entries * cluster;
            return Ok((ByteSource::Below, end - offset));
        }
        let table = self.table(file, l1 & OFFSET)?;
        let at = usize::try_from(index % entries * words).map_err(io::Error::other)?;
        let entry = table[at];
        let left = cluster - within;
        if entry & PACKED != 0 {
            return Ok((ByteSource::Here(entry), left));
        }
        let place = entry & OFFSET;
        if !place.is_multiple_of(cluster) {
            return Err(damaged("a cluster is not where clusters can be"));
        }
        if words == 1 {
            let source = match (entry & ZEROS != 0, place) {
                (true, _) if self.header.version < 3 => {
                    return Err(damaged("a cluster of unknown kind"));
                }
                (true, _) => ByteSource::Zeros,
                (false, 0) => ByteSource::Below,
                (false, place) => ByteSource::Here(place + within),
            };
            return Ok((source, left));
        }
        let bitmap = table[at + 1];
        let size = cluster / SUBCLUSTERS;
        let kind = |index: u64| (bitmap >> index & 1 != 0, bitmap >> (32 + index) & 1 != 0);
        let first = within / size;
        let source = match kind(first) {
            (true, true) => return Err(damaged("a subcluster of unknown kind")),
            (true, false) if place == 0 => return Err(damaged("a subcluster that is nowhere")),
            (true, false) => ByteSource::Here(place + within),
            (false, true) => ByteSource::Zeros,
            (false, false) => ByteSource::Below,
        };
        let end = (first..SUBCLUSTERS).find(|it| kind(*it) != kind(first)).unwrap_or(SUBCLUSTERS);
        Ok((source, end * size - within))
    }

    fn table(&self, file: &File, offset: u64) -> io::Result<Arc<[u64]>> {
        let cache = self.cache.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = cache.get(&offset) {
            return Ok(Arc::clone(table));
        }
        drop(cache);
        let cluster = self.header.cluster_size();
        let mut bytes = vec![0; usize::try_from(cluster).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, offset)?;
        let (words, _) = bytes.as_chunks::<8>();
        let table: Arc<[u64]> = words.iter().map(|word| u64::from_be_bytes(*word)).collect();
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        if cache.len() as u64 >= (KEPT / cluster).max(8) {
            cache.pop_first();
        }
        cache.insert(offset, Arc::clone(&table));
        Ok(table)
    }

    /// Where the compressed cluster is that an entry describes, and how many bytes it may have there.
    pub(super) fn packed(&self, entry: u64) -> (u64, u64) {
        let sectors_at = 62 - (self.header.cluster_bits - 8);
        let place = entry & ((1 << sectors_at) - 1);
        let sectors = (entry & (PACKED - 1)) >> sectors_at;
        (place, (sectors + 1) * 512 - place % 512)
    }
}
