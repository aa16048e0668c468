//! Writing an image so that a device holds all of it or does not boot.
//!
//! 1. Zeros over both ends of the image and the end of the device: what was there boots no more.
//!    Where what is behind the image is kept, only an old GPT's header at the end of the device goes.
//! 2. The device is told that nothing else on it, or in the image's place, is needed.
//! 3. The body is written: data where the image has data; elsewhere the device is made to read as
//!    zeros. All of it is synced, then read back from the medium.
//! 4. The tail, which may hold a second partition table, is written and synced.
//! 5. The head, the first MiB, is written and synced; both ends are read back.
//!
//! Whatever stops this before step 5 leaves a device whose first MiB is zeros.

use std::ops::Range;

use super::buffer::Buffer;
use super::fingerprint::Fingerprints;
use super::image::read;
use super::layout::{BehindImage, FlashLayout};
use super::pipeline::length;
use super::target::Target;
use super::transfer::{BLOCK, get, put, sync, zero};
use crate::disk::{Disk, is_zero};
use crate::flash::{image, pipeline, verify};
use crate::util::error::{Context, Error, Result};
use crate::util::interrupt;
use crate::util::progress::Progress;

/// At most so much is cleared at once, in bytes: where a device takes long for it, somebody may
/// lose patience.
const CLEARED_AT_ONCE: u64 = 256 << 20;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Bytes written.
    pub written: u64,
    /// Bytes of the image that are zeros, and were not written.
    pub skipped: u64,
}

/// Makes the beginning of `target` equal to `source`; `behind` says what becomes of the rest.
///
/// Reads `source` once, from front to back. With `verify`, everything is read back from the medium
/// and compared.
pub fn write(
    source: &dyn Disk,
    target: &mut dyn Target,
    behind: BehindImage,
    verify: bool,
    progress: &dyn Progress,
) -> Result<Summary> {
    let layout = FlashLayout::new(source.size(), target.size(), target.sector_size(), behind);
    if layout.tail.end > target.size() {
        return Err(Error::input("the device is smaller than the image"));
    }
    let head = read(source, layout.head.clone())?;

    // From the first byte written on, what was there is lost.
    replace(source, target, &layout, &head, verify, progress)
        .map_err(|error| error.hint("what is on the device now does not boot: flash it again"))
}

fn replace(
    source: &dyn Disk,
    target: &mut dyn Target,
    layout: &FlashLayout,
    head: &Buffer,
    verify: bool,
    progress: &dyn Progress,
) -> Result<Summary> {
    progress.stage("writing");
    for end in layout.ends() {
        put(target, &Buffer::new(length(&end)), end.start)?;
    }
    end_old_table(target, layout)?;
    sync(target)?;
    target.discard(layout.disposable());

    let (mut summary, fingerprints) = write_body(source, target, layout, progress)?;
    let tail = read(source, layout.tail.clone())?;
    sync(target)?;
    if verify {
        progress.stage("reading back");
        verify::body(source, target, &fingerprints, layout.body.clone(), progress)?;
    }

    progress.stage("making it bootable");
    let ends = [(&tail, layout.tail.start), (head, layout.head.start)];
    for (bytes, start) in ends {
        interrupt::check()?;
        put(target, bytes, start)?;
        sync(target)?;
        // The tail before the head is written: a device that lies, and goes away before it can be
        // put right, must not boot either.
        if verify && let Err(error) = verify::end(target, bytes, start) {
            // The least that can be done with it.
            put(target, &Buffer::new(head.len()), 0).and_then(|()| sync(target)).ok();
            return Err(error);
        }
        summary.written += bytes.len() as u64;
    }
    Ok(summary)
}

/// Firmware falls back on a GPT's header in the last sector, and would boot the old system by it. A partition
/// of an MBR may reach up to there: nothing else is a header that says that it is in this sector.
fn end_old_table(target: &mut dyn Target, layout: &FlashLayout) -> Result<()> {
    let sector = u64::from(target.sector_size());
    let start = target.size().saturating_sub(sector);
    if start < layout.rest.end || sector < 512 {
        return Ok(());
    }
    let mut bytes = Buffer::new(length(&(start..target.size())));
    get(target, &mut bytes, start)?;
    let own = (start / sector).to_le_bytes();
    if bytes.starts_with(b"EFI PART") && bytes[24..32] == own {
        bytes.fill(0);
        put(target, &bytes, start)?;
    }
    Ok(())
}

/// What the other thread found out about a chunk.
struct ReadChunk {
    /// Blocks that hold anything but zeros, joined, from the start of the chunk.
    data: Vec<Range<usize>>,
    /// Bytes that the source says may be data: what progress is counted in.
    allocated: u64,
}

fn write_body(
    source: &dyn Disk,
    target: &mut dyn Target,
    layout: &FlashLayout,
    progress: &dyn Progress,
) -> Result<(Summary, Fingerprints)> {
    let total = image::allocated(source, &layout.body).context(|| "reading the image")?;
    let mut fingerprints = Fingerprints::default();
    let mut summary = Summary { written: 0, skipped: 0 };
    let mut done = 0;
    // Zeros are put off until there is data again, so that a device clears in long runs.
    let mut zeros = layout.body.start..layout.body.start;

    let fill = |range: Range<u64>, buffer: &mut [u8]| {
        let allocated = image::fill(source, range, buffer)?;
        fingerprints.push(buffer);
        Ok(ReadChunk { data: data_runs(buffer), allocated })
    };
    pipeline::run(layout.body.clone(), fill, |range, bytes, chunk| {
        for run in chunk.data {
            let start = range.start + run.start as u64;
            zero(target, zeros.start..start)?;
            put(target, &bytes[run.clone()], start)?;
            summary.written += run.len() as u64;
            zeros.start = range.start + run.end as u64;
        }
        if range.end - zeros.start >= CLEARED_AT_ONCE {
            zero(target, zeros.start..range.end)?;
            zeros.start = range.end;
        }
        done += chunk.allocated;
        progress.bytes(done, Some(total));
        Ok(())
    })?;
    zero(target, zeros.start..layout.body.end)?;
    summary.skipped = layout.body.end - layout.body.start - summary.written;
    Ok((summary, fingerprints))
}

/// Runs of blocks with anything but zeros.
fn data_runs(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (index, block) in bytes.chunks(BLOCK).enumerate() {
        if is_zero(block) {
            continue;
        }
        let start = index * BLOCK;
        match runs.last_mut() {
            Some(run) if run.end == start => run.end += block.len(),
            _ => runs.push(start..start + block.len()),
        }
    }
    runs
}
