//! `.bmap`: which blocks of an image have to be written, and their checksums, for `bmaptool copy`.
//!
//! Format: version 2.0 of bmap-tools. Blocks that are not listed keep what the medium had, so that
//! holes are left out only where no file system relies on their zeros.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::manifest::write_synced;
use super::prepared::PreparedBase;
use crate::disk::{CLUSTER, Delta, Disk, windows};
use crate::fs::{in_use, join};
use crate::image::survey;
use crate::util::error::Result;
use crate::util::interrupt;
use crate::util::sha256::Sha256;

/// Bytes.
const BLOCK: u64 = 4096;

pub(super) fn write(path: &Path, prepared: &PreparedBase, delta: &Delta) -> Result<()> {
    let disk: Arc<dyn Disk> = Arc::new(prepared.with(delta));
    let ranges = mapped(&disk, &prepared.occupied_with(delta)?)?;
    let mut lines = String::new();
    for range in &ranges {
        let last = range.end.div_ceil(BLOCK) - 1;
        let first = range.start / BLOCK;
        let sum = prepared.sum_with(delta, range, || sum(&*disk, range))?;
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

/// Of all bytes of a range, zeros or not.
fn sum(disk: &dyn Disk, range: &Range<u64>) -> Result<String> {
    interrupt::check()?;
    let sum = windows::sum(disk, range)?;
    Ok(sum.unwrap_or_else(|| windows::sum_of_zeros(range.end - range.start)))
}

/// What has to be written, cut at windows, whose checksums nodes share: in whole blocks but for the end of the disk.
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
    Ok(join(ranges.into_iter().map(whole).collect())
        .into_iter()
        .flat_map(|it| windows::cut(&it))
        .collect())
}
