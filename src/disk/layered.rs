//! What images with a table of clusters have in common: reading through the table, and through
//! the image below.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::{Disk, check_bounds};

/// Where bytes of a layered image come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteSource {
    /// The image itself, by whatever the image calls the place.
    Here(u64),
    /// Nowhere: zeros that hide what is below.
    Zeros,
    /// The image below; zeros when there is none.
    Below,
}

/// An image that knows of each of its bytes whether it holds it, or the image below does.
pub(super) trait Layered: Send + Sync {
    /// The virtual size in bytes.
    fn size(&self) -> u64;

    /// Where the bytes from `offset` come from, and for how many, more than none, that holds.
    /// Looks no further than `wanted` bytes; they are inside the disk, and at least one.
    fn source(&self, offset: u64, wanted: u64) -> io::Result<(ByteSource, u64)>;

    /// Fills `buffer` from the image's own `place`, the one `source` gave for `offset`.
    fn read_here(&self, buffer: &mut [u8], place: u64, offset: u64) -> io::Result<()>;

    /// The image below.
    fn below(&self) -> Option<&Arc<dyn Disk>>;
}

/// A layered image as a disk.
pub(super) struct LayeredDisk<L>(pub(super) L);

impl<L: Layered> Disk for LayeredDisk<L> {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        check_bounds(self.size(), offset, buffer.len())?;
        let (mut rest, mut offset) = (buffer, offset);
        while !rest.is_empty() {
            let (source, length) = self.0.source(offset, rest.len() as u64)?;
            let length = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
            let (part, remainder) = rest.split_at_mut(length);
            match source {
                ByteSource::Here(place) => self.0.read_here(part, place, offset)?,
                ByteSource::Zeros => part.fill(0),
                ByteSource::Below => read_below(self.0.below(), part, offset)?,
            }
            (rest, offset) = (remainder, offset + length as u64);
        }
        Ok(())
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let mut start = from;
        while start < self.size() {
            let (source, length) = self.0.source(start, self.size() - start)?;
            let end = start.saturating_add(length).min(self.size());
            match source {
                ByteSource::Here(_) => return self.run(start, end).map(Some),
                ByteSource::Zeros => {}
                ByteSource::Below => {
                    let below = self.0.below().map(|disk| disk.next_data(start)).transpose()?;
                    if let Some(run) = below.flatten()
                        && run.start < end
                    {
                        return Ok(Some(run.start..run.end.min(end)));
                    }
                }
            }
            start = end;
        }
        Ok(None)
    }
}

impl<L: Layered> LayeredDisk<L> {
    /// Joins what follows `start..end` and is held here, too: callers like long runs.
    fn run(&self, start: u64, mut end: u64) -> io::Result<Range<u64>> {
        while end < self.size() {
            let (ByteSource::Here(_), length) = self.0.source(end, self.size() - end)? else {
                break;
            };
            end = end.saturating_add(length).min(self.size());
        }
        Ok(start..end)
    }
}

/// A backing image may be shorter than what lies on it; the rest of it is zeros.
fn read_below(below: Option<&Arc<dyn Disk>>, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let Some(disk) = below else {
        buffer.fill(0);
        return Ok(());
    };
    let inside = disk.size().saturating_sub(offset).min(buffer.len() as u64);
    let (data, past) = buffer.split_at_mut(usize::try_from(inside).unwrap_or(0));
    past.fill(0);
    if data.is_empty() { Ok(()) } else { disk.read_at(data, offset) }
}

/// An error in an image's own structure.
pub(super) fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
