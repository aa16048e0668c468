//! Reading back what the medium really holds.

use std::ops::Range;

use super::buffer::Buffer;
use super::fingerprint::Fingerprints;
use super::pipeline::CHUNK;
use super::target::Target;
use super::transfer::get;
use crate::disk::Disk;
use crate::flash::{image, pipeline};
use crate::util::error::{Context, Error, Result};
use crate::util::progress::Progress;

/// Compares the body with what was remembered of it. Where they differ, `source` says from which
/// byte on, if it can be read a second time.
pub(super) fn body(
    source: &dyn Disk,
    target: &mut dyn Target,
    expected: &Fingerprints,
    body: Range<u64>,
    progress: &dyn Progress,
) -> Result<()> {
    target.forget().context(|| "emptying the cache")?;
    let sector = u64::from(target.sector_size());
    let total = body.end - body.start;
    let start = body.start;
    pipeline::run(
        body,
        |range, buffer| get(target, buffer, range.start),
        |range, found, ()| {
            let index = usize::try_from((range.start - start) / CHUNK).unwrap_or(usize::MAX);
            if expected.matches(index, found) {
                progress.bytes(range.end - start, Some(total));
                return Ok(());
            }
            let wanted = image::read(source, range.clone()).ok();
            let wanted = wanted.filter(|wanted| expected.matches(index, wanted));
            match wanted.and_then(|wanted| first_difference(&wanted, found)) {
                Some(at) => Err(lies_at(range.start + at, sector)),
                None => Err(lies(&format!("from byte {} to {}", range.start, range.end))),
            }
        },
    )
}

/// Compares one end with its bytes.
pub(super) fn end(target: &mut dyn Target, expected: &[u8], offset: u64) -> Result<()> {
    target.forget().context(|| "emptying the cache")?;
    let mut found = Buffer::new(expected.len());
    get(target, &mut found, offset)?;
    match first_difference(expected, &found) {
        None => Ok(()),
        Some(at) => Err(lies_at(offset + at, target.sector_size().into())),
    }
}

fn first_difference(wanted: &[u8], found: &[u8]) -> Option<u64> {
    wanted.iter().zip(found).position(|(wanted, found)| wanted != found).map(|at| at as u64)
}

fn lies_at(byte: u64, sector_size: u64) -> Error {
    lies(&format!("at byte {byte} (sector {})", byte / sector_size))
}

fn lies(place: &str) -> Error {
    Error::failure(format!("the device does not hold what was written to it {place}"))
        .hint("it is worn out, or smaller than it says: use another one")
}
