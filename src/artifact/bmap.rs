//! `.bmap`: which blocks of an image have to be written, and their checksums, for `bmaptool copy`.
//!
//! Format: version 2.0 of bmap-tools. Blocks that are not listed keep what the medium had, so that
//! holes are left out only where no file system relies on their zeros.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use sha2::Digest as _;

use super::manifest::write_synced;
use super::prepared::PreparedBase;
use crate::disk::{CLUSTER, Delta, Disk};
use crate::fs::{in_use, join};
use crate::image::survey;
use crate::util::error::Result;
use crate::util::interrupt;
use crate::util::sha256::Sha256;

/// Bytes.
const BLOCK: u64 = 4096;

/// Bytes of a range at most: nodes share the checksums of those that none of them changes.
const RANGE: u64 = 16 << 20;

pub(super) fn write(path: &Path, prepared: &PreparedBase, delta: &Delta) -> Result<()> {
    let disk: Arc<dyn Disk> = Arc::new(prepared.with(delta));
    let ranges = mapped(&disk, &prepared.occupied_with(delta)?)?;
    let mut lines = String::new();
    for range in &ranges {
        let last = range.end.div_ceil(BLOCK) - 1;
        let first = range.start / BLOCK;
        let sum = prepared.sum_with(delta, range, || sha256(&*disk, range))?;
        let place = if first == last { format!("{first}") } else { format!("{first}-{last}") };
        writeln!(lines, "        <Range chksum=\"{sum}\"> {place} </Range>")
            .expect("writing to a string");
    }
    let blocks: u64 = ranges.iter().map(|it| it.end.div_ceil(BLOCK) - it.start / BLOCK).sum();
    // Its own checksum is that of the file with zeros in its place.
    let zeros = "0".repeat(64);
    let text = format!(
        r#"<?xml version="1.0" ?>
<bmap version="2.0">
    <ImageSize> {size} </ImageSize>
    <BlockSize> {BLOCK} </BlockSize>
    <BlocksCount> {count} </BlocksCount>
    <MappedBlocksCount> {blocks} </MappedBlocksCount>
    <ChecksumType> sha256 </ChecksumType>
    <BmapFileChecksum> {zeros} </BmapFileChecksum>
    <BlockMap>
{lines}    </BlockMap>
</bmap>
"#,
        size = disk.size(),
        count = disk.size().div_ceil(BLOCK),
    );
    let sum = Sha256::of(&text).to_string();
    write_synced(path, text.replacen(&zeros, &sum, 1).as_bytes())
}

/// What has to be written, in whole blocks but for the end of the disk.
fn mapped(disk: &Arc<dyn Disk>, occupied: &[u64]) -> Result<Vec<Range<u64>>> {
    let mut ranges = Vec::new();
    let (_, parts) = survey(disk)?;
    let mut end = 0;
    let mut places: Vec<_> = parts.iter().collect();
    places.sort_by_key(|part| part.range.start);
    for part in places {
        // Between partitions there may be anything.
        ranges.push(end..part.range.start);
        end = end.max(part.range.end);
        let used = in_use(&*part.disk(disk)?, part.kind)?;
        ranges.extend(
            used.into_iter().map(|it| part.range.start + it.start..part.range.start + it.end),
        );
    }
    ranges.push(end..disk.size());
    ranges.extend(occupied.iter().map(|index| index * CLUSTER..(index + 1) * CLUSTER));
    let whole = |it: Range<u64>| {
        let end = it.end.next_multiple_of(BLOCK).min(disk.size());
        it.start / BLOCK * BLOCK..end.max(it.start)
    };
    ranges.retain(|it| it.start < it.end);
    Ok(join(ranges.into_iter().map(whole).collect()).into_iter().flat_map(cut).collect())
}

/// At multiples of `RANGE`.
fn cut(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    (range.start / RANGE..range.end.div_ceil(RANGE))
        .map(move |at| range.start.max(at * RANGE)..range.end.min((at + 1) * RANGE))
}

fn sha256(disk: &dyn Disk, range: &Range<u64>) -> Result<Sha256> {
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut at = range.start;
    while at < range.end {
        interrupt::check()?;
        let part = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(buffer.len());
        disk.read_at(&mut buffer[..part], at)?;
        hash.update(&buffer[..part]);
        at += part as u64;
    }
    Ok(Sha256::finish(hash))
}
