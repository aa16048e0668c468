//! Disks in windows: the one unit in which their bytes are compared, checked and listed.
//!
//! Windows begin at multiples of [`WINDOW`]; the last one ends with the disk. Each has the SHA-256 of
//! its bytes, or is known to be all zeros, which is a property of the bytes and not of where a file
//! has holes: the same disk has the same list wherever it is stored. Holes are never read.

use std::io;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Disk, is_zero};
use crate::util::error::Result;
use crate::util::hex::hex;
use crate::util::parallel::parallel;

/// Bytes of a window.
///
/// Small enough that one changed file costs little to write or transfer again, and that a thread's
/// buffer stays in the processor's cache; large enough that the list of a 2 TiB disk (524,288 entries)
/// is a few tens of MB, and that the cost of a request or a seek for one window is negligible. It is
/// a multiple of a delta's clusters, the size of a zstd frame and half an xz block, and the erase block
/// of many cards.
pub const WINDOW: u64 = 4 << 20;

/// The windows of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windows {
    /// Of the disk, in bytes.
    size: u64,
    /// Of a window, in bytes: another one is of another nodeforge.
    window: u64,
    /// SHA-256 of each window, 64 hexadecimal digits; empty for one that is all zeros.
    sums: Vec<String>,
}

impl Windows {
    /// Of a disk, read by so many threads.
    pub fn of(disk: &dyn Disk, threads: usize) -> Result<Self> {
        let ranges: Vec<_> = ranges(disk.size()).collect();
        let sums = parallel(threads, &ranges, |range| Ok(sum(disk, range)?.unwrap_or_default()))?;
        Ok(Self { size: disk.size(), window: WINDOW, sums })
    }

    /// The windows in which a disk differs from this list; all of them when its size does, or when
    /// the list has other windows.
    pub fn differing(&self, disk: &dyn Disk, threads: usize) -> Result<Vec<Range<u64>>> {
        let ranges: Vec<_> = ranges(disk.size()).collect();
        if self.count_for(disk.size()).is_none() {
            return Ok(ranges);
        }
        let listed: Vec<_> = ranges.into_iter().zip(&self.sums).collect();
        let differing = parallel(threads, &listed, |(range, expected)| {
            let is_same = sum(disk, range)?.unwrap_or_default() == **expected;
            Ok((!is_same).then(|| range.clone()))
        })?;
        Ok(differing.into_iter().flatten().collect())
    }

    /// How many windows it has, where it is a list of this nodeforge's for a disk of `size` bytes.
    pub(super) fn count_for(&self, size: u64) -> Option<usize> {
        let count = usize::try_from(size.div_ceil(WINDOW)).ok()?;
        ((self.size, self.window, self.sums.len()) == (size, WINDOW, count)).then_some(count)
    }

    /// Whether a disk has the bytes of this window, which must be one of the list's.
    pub(super) fn is_right(&self, disk: &dyn Disk, window: &Range<u64>) -> io::Result<bool> {
        let index = usize::try_from(window.start / WINDOW).map_err(io::Error::other)?;
        Ok(sum(disk, window)?.unwrap_or_default() == self.sums[index])
    }

    /// The SHA-256 of exactly these bytes, where the list tells: of a whole window. 64 hexadecimal
    /// digits.
    pub fn sum_of(&self, range: &Range<u64>) -> Option<String> {
        let end = self.size.min(range.start + self.window);
        let is_window = range.start.is_multiple_of(self.window) && range.end == end;
        let sum = self.sums.get(usize::try_from(range.start / self.window).ok()?)?;
        (is_window && range.start < end).then(|| match sum.as_str() {
            "" => sum_of_zeros(range.end - range.start),
            sum => sum.to_owned(),
        })
    }
}

/// The windows of a disk of `size` bytes.
pub fn ranges(size: u64) -> impl Iterator<Item = Range<u64>> {
    cut(&(0..size))
}

/// The parts of a range that lie in one window each.
pub fn cut(range: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
    let Range { start, end } = *range;
    (start / WINDOW..end.div_ceil(WINDOW))
        .map(move |at| start.max(at * WINDOW)..end.min((at + 1) * WINDOW))
}

/// SHA-256 of a window or a part of one, 64 hexadecimal digits; `None` when all its bytes are zeros.
pub fn sum(disk: &dyn Disk, range: &Range<u64>) -> io::Result<Option<String>> {
    let Some(data) = disk.next_data(range.start)?.filter(|it| it.start < range.end) else {
        return Ok(None);
    };
    let length = |bytes: u64| usize::try_from(bytes).expect("a window fits in memory");
    let mut bytes = vec![0; length(range.end - range.start)];
    let mut next = Some(data);
    while let Some(data) = next.filter(|it| it.start < range.end) {
        let (start, end) = (data.start.max(range.start), data.end.min(range.end));
        let place = length(start - range.start)..length(end - range.start);
        disk.read_at(&mut bytes[place], start)?;
        next = if end < range.end { disk.next_data(end)? } else { None };
    }
    Ok((!is_zero(&bytes)).then(|| hex(&Sha256::digest(&bytes))))
}

/// SHA-256 of so many zeros, 64 hexadecimal digits.
pub fn sum_of_zeros(length: u64) -> String {
    let mut hash = Sha256::new();
    let zeros = [0; 1 << 12];
    let mut left = length;
    while left > 0 {
        let part = left.min(zeros.len() as u64);
        hash.update(&zeros[..usize::try_from(part).expect("at most 4 KiB")]);
        left -= part;
    }
    hex(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Raw;
    use crate::disk::testing::Memory;

    #[test]
    fn only_bytes_count() {
        let folder = tempfile::tempdir().unwrap();
        let size = 3 * WINDOW + 4608;
        let sparse = Raw::create(&folder.path().join("disk"), size).unwrap();
        sparse.write_at(b"x", WINDOW + 5).unwrap();
        sparse.write_at(b"y", WINDOW + 700_000).unwrap();
        sparse.write_at(b"z", size - 1).unwrap();
        let mut bytes = vec![0; usize::try_from(size).unwrap()];
        sparse.read_at(&mut bytes, 0).unwrap();
        let full = Memory::new(bytes.clone());

        let windows = Windows::of(&sparse, 3).unwrap();
        assert_eq!(windows, Windows::of(&full, 1).unwrap());
        assert_eq!(windows.sums.iter().map(String::len).collect::<Vec<_>>(), [0, 64, 0, 64]);
        for range in ranges(size) {
            let place = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            assert_eq!(windows.sum_of(&range).unwrap(), hex(&Sha256::digest(&bytes[place])));
        }
        assert_eq!(windows.sum_of(&(0..WINDOW - 1)), None);
        assert_eq!(windows.sum_of(&(size..size)), None);

        assert!(windows.differing(&full, 2).unwrap().is_empty());
        sparse.write_at(b"x", 2 * WINDOW).unwrap();
        sparse.write_at(b"\0", size - 1).unwrap();
        let differing = windows.differing(&sparse, 2).unwrap();
        assert_eq!(differing, [2 * WINDOW..3 * WINDOW, 3 * WINDOW..size]);
        let json = serde_json::to_string(&windows).unwrap();
        assert_eq!(serde_json::from_str::<Windows>(&json).unwrap(), windows);
        let shorter = Memory::new(bytes[..bytes.len() - 1].to_vec());
        assert_eq!(windows.differing(&shorter, 1).unwrap().len(), 4);
    }

    #[test]
    fn ranges_are_cut_at_windows() {
        let cut = |range| cut(&range).collect::<Vec<_>>();
        assert_eq!(cut(5..9), vec![5..9; 1]);
        assert_eq!(cut(WINDOW - 1..WINDOW + 1), [WINDOW - 1..WINDOW, WINDOW..WINDOW + 1]);
        assert_eq!(cut(0..0), []);
        assert_eq!(sum_of_zeros(5000), hex(&Sha256::digest(vec![0; 5000])));
    }
}
