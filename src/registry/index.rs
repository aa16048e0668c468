//! The index of a prepared base: which windows its disk has, and where in which pack each of them is.

use std::io::Read as _;

use serde::{Deserialize, Serialize};

use super::manifest::{BlobPart, short};
use crate::util::error::{Error, Result};
use crate::util::sha256::Sha256;

/// Bytes of a window: the unit in which a disk is compared, sent and found again. As a delta's clusters; smaller ones
/// share hardly more, and larger ones less (docs/registry.md has measurements).
pub(super) const UNIT: usize = 64 << 10;
/// The most bytes of a window's frame: what zstd makes of bytes that cannot be compressed, and some.
pub(super) const FRAME_LIMIT: u32 = (64 << 10) + 1024;
/// The most windows that are not zeros: 32 GiB of them. Whoever pulls or pushes has them in memory.
pub(super) const MOST_WINDOWS: usize = 1 << 19;
/// The most bytes of an index, unpacked: a window takes about a hundred.
const LIMIT: u64 = 56 << 20;
/// The largest disk, in bytes: 2 TiB.
pub(super) const DISK_LIMIT: u64 = 2 << 40;
/// How hard it is compressed.
const LEVEL: i32 = 9;
/// As much memory as unpacking it may ask for, as a power of two: 8 MiB.
const WINDOW_LOG: u32 = 23;

/// One window of a disk: its number there, what it must be, and where its frame is. In the text it is a list of five.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "FiveNumbers", into = "FiveNumbers")]
pub(super) struct IndexEntry(pub(super) u64, pub(super) Sha256, pub(super) Frame);

/// A window as the text has it.
type FiveNumbers = (u64, Sha256, u32, u64, u32);

/// Where a window's frame is: the pack's number in the index, the first byte, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Frame {
    pub(super) pack: u32,
    pub(super) offset: u64,
    pub(super) length: u32,
}

/// The windows of a disk that hold anything but zeros, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WindowIndex {
    /// Of the disk, in bytes.
    pub(super) size: u64,
    /// Of all of its bytes.
    pub(super) sha256: Sha256,
    pub(super) windows: Vec<IndexEntry>,
}

#[derive(Serialize, Deserialize)]
struct IndexText {
    version: u32,
    size: u64,
    sha256: Sha256,
    window: usize,
    /// Digests of the packs, as the manifest names them.
    packs: Vec<String>,
    windows: Vec<IndexEntry>,
}

impl From<FiveNumbers> for IndexEntry {
    fn from((at, sum, pack, offset, length): FiveNumbers) -> Self {
        Self(at, sum, Frame { pack, offset, length })
    }
}

impl From<IndexEntry> for FiveNumbers {
    fn from(IndexEntry(at, sum, it): IndexEntry) -> Self {
        (at, sum, it.pack, it.offset, it.length)
    }
}

impl WindowIndex {
    /// Packed, as registries keep it.
    pub(super) fn into_bytes(self, packs: &[BlobPart]) -> Result<Vec<u8>> {
        let text = IndexText {
            version: 1,
            size: self.size,
            sha256: self.sha256,
            window: UNIT,
            packs: packs.iter().map(|it| format!("sha256:{}", it.digest)).collect(),
            windows: self.windows,
        };
        let packed = zstd::stream::write::Encoder::new(Vec::new(), LEVEL)?;
        let mut packed = std::io::BufWriter::new(packed);
        serde_json::to_writer(&mut packed, &text)
            .map_err(|error| Error::failure(error.to_string()))?;
        drop(text);
        let packed = packed.into_inner().map_err(|error| Error::failure(error.to_string()))?;
        Ok(packed.finish()?)
    }

    /// Reads one that goes with these packs. Everything that is used of it later was looked at then.
    pub(super) fn parse(bytes: &[u8], packs: &[BlobPart]) -> Result<Self> {
        let wrong = |what: &str| Error::failure(format!("its index is wrong: {what}"));
        let unpack = || {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)?;
            decoder.window_log_max(WINDOW_LOG)?;
            let mut text = Vec::new();
            decoder.take(LIMIT + 1).read_to_end(&mut text)?;
            std::io::Result::Ok(text)
        };
        let text = unpack().map_err(|_| wrong("it cannot be unpacked"))?;
        if text.len() as u64 > LIMIT {
            return Err(wrong("it is larger than any index"));
        }
        let unpacked = text;
        let text: IndexText =
            serde_json::from_slice(&unpacked).map_err(|error| wrong(&short(&error)))?;
        drop(unpacked);
        if (text.version, text.window) != (1, UNIT) {
            return Err(wrong("it is of another version"));
        }
        let named = packs.iter().map(|it| format!("sha256:{}", it.digest));
        if !named.eq(text.packs.iter().cloned()) {
            return Err(wrong("it names other packs than the manifest"));
        }
        if text.size > DISK_LIMIT || !text.size.is_multiple_of(512) {
            return Err(wrong("no disk has that size"));
        }
        if text.windows.len() > MOST_WINDOWS {
            return Err(wrong("it has more windows than any index"));
        }
        let mut least = 0;
        for IndexEntry(at, _, Frame { pack, offset, length }) in &text.windows {
            let size = packs.get(*pack as usize).map_or(0, |it| it.size);
            if *at < least || *at >= text.size.div_ceil(UNIT as u64) {
                return Err(wrong("a window is out of order or past the end of the disk"));
            }
            if *length == 0
                || *length > FRAME_LIMIT
                || offset.checked_add(u64::from(*length)).is_none_or(|end| end > size)
            {
                return Err(wrong("a window is outside of its pack"));
            }
            least = at + 1;
        }
        let mut frames: Vec<_> = text.windows.iter().map(|it| it.2).collect();
        frames.sort_unstable();
        frames.dedup();
        // They would have to be asked for one by one.
        if frames.windows(2).any(|two| {
            two[0].pack == two[1].pack && two[0].offset + u64::from(two[0].length) > two[1].offset
        }) {
            return Err(wrong("frames of a pack overlap"));
        }
        Ok(Self { size: text.size, sha256: text.sha256, windows: text.windows })
    }

    /// How long the window with this number is, in bytes: the last one ends with the disk.
    pub(super) fn length_of(&self, at: u64) -> usize {
        length_of(self.size, at)
    }
}

/// How long the window with this number is on a disk of so many bytes.
pub(super) fn length_of(size: u64, at: u64) -> usize {
    let left = size.saturating_sub(at.saturating_mul(UNIT as u64));
    usize::try_from(left).unwrap_or(UNIT).min(UNIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(size: u64) -> BlobPart {
        BlobPart { media_type: "m".into(), digest: Sha256::of("pack"), size }
    }

    fn index(windows: Vec<IndexEntry>) -> WindowIndex {
        WindowIndex { size: 4 * UNIT as u64 + 512, sha256: Sha256::of("disk"), windows }
    }

    fn entry(at: u64, text: &str, offset: u64, length: u32) -> IndexEntry {
        IndexEntry(at, Sha256::of(text), Frame { pack: 0, offset, length })
    }

    #[test]
    fn an_index_comes_back() {
        let good = index(vec![entry(0, "a", 0, 9), entry(3, "b", 9, 1), entry(4, "a", 0, 9)]);
        let bytes = good.clone().into_bytes(&[pack(10)]).unwrap();
        assert_eq!(WindowIndex::parse(&bytes, &[pack(10)]).unwrap(), good);
        assert_eq!((good.length_of(3), good.length_of(4), good.length_of(9)), (UNIT, 512, 0));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for (windows, what) in [
            (vec![entry(1, "a", 0, 9), entry(1, "a", 0, 9)], "out of order"),
            (vec![entry(5, "a", 0, 9)], "past the end"),
            (vec![entry(0, "a", 2, 9)], "outside of its pack"),
            (vec![entry(0, "a", u64::MAX, 9)], "outside of its pack"),
            (vec![entry(0, "a", 0, 0)], "outside of its pack"),
            (vec![entry(0, "a", 0, 5), entry(1, "b", 4, 5)], "overlap"),
            (vec![entry(0, "a", 0, 5), entry(1, "b", 0, 6)], "overlap"),
        ] {
            let bytes = index(windows).into_bytes(&[pack(10)]).unwrap();
            let error = WindowIndex::parse(&bytes, &[pack(10)]).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
        for (size, is_good) in [(2 << 40, true), ((2 << 40) + 512, false), (513, false)] {
            let index = WindowIndex { size, ..index(Vec::new()) };
            let read = WindowIndex::parse(&index.into_bytes(&[]).unwrap(), &[]);
            assert_eq!(read.is_ok(), is_good, "{size}");
        }
        let other = index(Vec::new()).into_bytes(&[]).unwrap();
        assert!(WindowIndex::parse(&other, &[pack(10)]).is_err());
        // 56 MiB of spaces is a few kilobytes.
        let bomb = zstd::bulk::compress(&vec![b' '; (56 << 20) + 9], 1).unwrap();
        let error = WindowIndex::parse(&bomb, &[]).unwrap_err().to_string();
        assert_eq!(error, "its index is wrong: it is larger than any index");
    }
}
