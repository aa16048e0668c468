//! Windows that this machine has: of a disk that is being pulled, and of other disks in the cache.

use std::collections::HashMap;
use std::ops::Range;

use super::index::{UNIT, length_of};
use crate::disk::{Disk, is_zero};
use crate::util::error::Result;
use crate::util::in_order::in_order;
use crate::util::sha256::Sha256;

/// How much of a disk one thread looks at before it tells, in windows.
const BATCH: u64 = 64;

/// A window of a disk that holds anything but zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DiskWindow {
    /// Its number on the disk.
    pub(super) at: u64,
    pub(super) sum: Sha256,
}

/// Reads all of a disk's data, on all processors, and hands out its windows in order.
pub(super) fn windows(
    disk: &dyn Disk,
    mut take: impl FnMut(DiskWindow) -> Result<()>,
) -> Result<()> {
    let batches = batches(disk)?;
    let hash = |number: usize| {
        let mut buffer = vec![0; UNIT];
        let mut found = Vec::new();
        for at in batches[number].clone() {
            let window = read(disk, at, &mut buffer)?;
            if !is_zero(window) {
                found.push(DiskWindow { at, sum: Sha256::of(window) });
            }
        }
        Ok(found)
    };
    in_order(batches.len(), hash, |found| found.into_iter().try_for_each(&mut take))
}

/// The windows of a disk that may hold anything but zeros, some at a time.
fn batches(disk: &dyn Disk) -> Result<Vec<Range<u64>>> {
    let unit = UNIT as u64;
    let (mut all, mut next) = (Vec::new(), 0);
    while let Some(run) = disk.next_data(next * unit)? {
        let (mut at, end) = ((run.start / unit).max(next), run.end.div_ceil(unit));
        while at < end {
            let stop = end.min(at + BATCH);
            all.push(at..stop);
            at = stop;
        }
        next = end.max(next);
    }
    Ok(all)
}

/// A window of a disk; as much of the buffer as it fills.
pub(super) fn read<'a>(disk: &dyn Disk, at: u64, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
    let window = &mut buffer[..length_of(disk.size(), at)];
    disk.read_at(window, at * UNIT as u64)?;
    Ok(window)
}

/// Windows that are wanted, by what they hold, each with all places of the disk where it belongs.
pub(super) type MissingWindows = HashMap<Sha256, Vec<u64>>;
