//! The image, read by ranges.

use std::io;
use std::ops::Range;

use super::buffer::Buffer;
use super::pipeline::length;
use crate::disk::{Disk, is_zero};
use crate::util::error::{Context, Result};

/// A part of the image, filled up with zeros where it ends within a sector.
pub(super) fn read(source: &dyn Disk, range: Range<u64>) -> Result<Buffer> {
    let mut buffer = Buffer::new(length(&range));
    fill(source, range, &mut buffer)?;
    Ok(buffer)
}

/// Fills `buffer` with `range` of the image without reading its holes; says how much was no hole.
pub(super) fn fill(source: &dyn Disk, range: Range<u64>, buffer: &mut [u8]) -> Result<u64> {
    let mut at = range.start;
    let mut allocated = 0;
    let context = |at| move || format!("reading the image at byte {at}");
    while let Some(data) = source.next_data(at).context(context(at))? {
        let data = data.start.min(range.end)..data.end.min(range.end);
        buffer[length(&(range.start..at))..length(&(range.start..data.start))].fill(0);
        if data.is_empty() {
            at = data.start;
            break;
        }
        let part = &mut buffer[length(&(range.start..data.start))..][..length(&data)];
        source.read_at(part, data.start).context(context(data.start))?;
        allocated += data.end - data.start;
        at = data.end;
    }
    buffer[length(&(range.start..at))..].fill(0);
    Ok(allocated)
}

/// How many bytes a file takes that holds a disk, without its zeros.
///
/// # Errors
///
/// Those of reading the disk.
pub fn needed(source: &dyn Disk) -> Result<u64> {
    allocated(source, &(0..source.size())).context(|| "reading the image")
}

/// How much of `range` may be data.
pub(super) fn allocated(source: &dyn Disk, range: &Range<u64>) -> io::Result<u64> {
    let mut total = 0;
    let mut at = range.start;
    while let Some(data) = source.next_data(at)? {
        if data.start >= range.end {
            break;
        }
        total += data.end.min(range.end) - data.start;
        at = data.end;
    }
    Ok(total)
}

/// The sectors that an image's partition table counts, in bytes; `None` when it has none.
///
/// A GPT's header is in the second sector, whose place tells its size (UEFI 2.10, section 5.3.1);
/// an MBR can count anything, and everybody's counts 512.
pub fn table_sector_size(source: &dyn Disk) -> Result<Option<u32>> {
    let mut start = vec![0; length(&(0..source.size().min(8192)))];
    source.read_at(&mut start, 0).context(|| "reading the image")?;
    let has_header = |at: usize| start.get(at..).is_some_and(|it| it.starts_with(b"EFI PART"));
    let has_entry = start.get(446..510).is_some_and(|entries| !is_zero(entries));
    Ok(match () {
        () if has_header(512) => Some(512),
        () if has_header(4096) => Some(4096),
        () if start.get(510..512) == Some(&[0x55, 0xaa]) && has_entry => Some(512),
        () => None,
    })
}
