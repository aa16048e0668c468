//! The disk of a prepared base: its base's, grown.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::Sandbox;
use super::firmware::FirmwarePart;
use super::mkfs::Place;
use crate::disk::{Disk, Raw};
use crate::error::{Context, Error, Result};
use crate::fs::Kind;
use crate::image::Image;
use crate::interrupt;
use crate::table;

/// How much is copied at once, in bytes.
const CHUNK: u64 = 1 << 20;

/// The parts of a disk that its programs expect to see.
pub(super) struct Parts {
    pub root: Place,
    pub firmware: Vec<FirmwarePart>,
}

/// Makes a copy of `base` at `disk`, grown to `size` bytes where that is given, and its root
/// partition with it. For [`Sandbox::Userns`] the root partition is left empty.
pub(super) fn lay_out(
    base: &Path,
    disk: &Path,
    size: Option<u64>,
    sandbox: Sandbox,
) -> Result<Parts> {
    let from: Arc<dyn Disk> = Arc::new(Raw::open(base)?);
    let image =
        Image::open(Arc::clone(&from), 0).context(|| format!("opening `{}`", base.display()))?;
    let root = image.root();
    let size = size.unwrap_or(from.size());
    if size < from.size() {
        return Err(Error::input(format!(
            "the disk is to have {} MiB, but the base has {} MiB already",
            size >> 20,
            from.size().div_ceil(1 << 20)
        ))
        .hint("raise `size` in [disk]"));
    }
    let to = Raw::create(disk, size)?;
    match sandbox {
        Sandbox::Loop => copy(&*from, &to, 0..from.size())?,
        Sandbox::Userns => {
            copy(&*from, &to, 0..root.range.start)?;
            copy(&*from, &to, root.range.end..from.size())?;
        }
    }
    let range = match root.number() {
        Some(number) if size > from.size() => {
            table::grow_last(&to, number).context(|| "growing the root partition")?
        }
        Some(_) => root.range.clone(),
        None => 0..size,
    };
    let firmware = image.parts().iter().filter_map(|part| {
        let point = part.mount_point.as_ref().filter(|_| part.kind == Kind::Fat)?;
        Some(FirmwarePart { point: point.to_str()?.to_owned(), range: part.range.clone() })
    });
    Ok(Parts {
        root: Place { disk: disk.to_owned(), offset: range.start, size: range.end - range.start },
        firmware: firmware.collect(),
    })
}

/// Copies a part of a disk to the same place of another; holes stay holes.
fn copy(from: &dyn Disk, to: &dyn Disk, range: Range<u64>) -> Result<()> {
    let mut buffer = vec![0; usize::try_from(CHUNK).expect("1 MiB")];
    let mut copy = || -> Result<()> {
        let mut at = range.start;
        while let Some(run) = from.next_data(at)?.filter(|run| run.start < range.end) {
            at = run.start;
            while at < run.end.min(range.end) {
                interrupt::check()?;
                let length = CHUNK.min(run.end.min(range.end) - at);
                let part = &mut buffer[..usize::try_from(length).expect("at most 1 MiB")];
                from.read_at(part, at)?;
                to.write_at(part, at)?;
                at += length;
            }
        }
        Ok(())
    };
    copy().context(|| "copying the base")
}
