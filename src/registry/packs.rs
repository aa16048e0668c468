//! Packs: windows one after the other, each a frame of its own that nothing else is needed to unpack.

use std::sync::Arc;

use super::index::{FRAME_LIMIT, Frame, UNIT};
use super::manifest::{BlobPart, PACK};
use super::seeds::{DiskWindow, read};
use crate::disk::Disk;
use crate::util::error::{Error, Result};
use crate::util::in_order::in_order;
use crate::util::sha256::Sha256;

/// How hard windows are compressed: as hard as the measurements of docs/registry.md.
const LEVEL: i32 = 3;
/// As many bytes as a pack has before the next one is begun.
const PACK_SIZE: usize = 32 << 20;
/// How many windows a thread packs before it tells.
const BATCH: usize = 64;

/// A pack that is full, or the last one.
pub(super) struct FullPack {
    pub(super) part: BlobPart,
    pub(super) bytes: Arc<[u8]>,
    /// What it holds: each window's hash, first byte and length.
    pub(super) frames: Vec<(Sha256, u64, u32)>,
}

/// Packs windows of a disk, in this order, and hands out one pack after the other. `tell` learns how many windows are
/// done.
pub(super) fn pack(
    disk: &dyn Disk,
    wanted: &[DiskWindow],
    mut give: impl FnMut(FullPack) -> Result<()>,
    mut tell: impl FnMut(u64),
) -> Result<()> {
    let batches: Vec<_> = wanted.chunks(BATCH).collect();
    let compress = |number: usize| {
        let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
        let mut buffer = vec![0; UNIT];
        let frames = batches[number].iter().map(|window| {
            let bytes = read(disk, window.at, &mut buffer)?;
            if Sha256::of(bytes) != window.sum {
                return Err(Error::failure("the disk changes while it is read"));
            }
            Ok((window.sum, compressor.compress(bytes)?))
        });
        frames.collect::<Result<Vec<_>>>()
    };
    let (mut bytes, mut frames) = (Vec::with_capacity(PACK_SIZE), Vec::new());
    in_order(batches.len(), compress, |batch| {
        tell(batch.len() as u64);
        for (sum, frame) in batch {
            if bytes.len() + frame.len() > PACK_SIZE {
                give(full(&mut bytes, &mut frames))?;
            }
            let length =
                u32::try_from(frame.len()).map_err(|_| Error::failure("a frame is too large"))?;
            frames.push((sum, bytes.len() as u64, length));
            bytes.extend_from_slice(&frame);
        }
        Ok(())
    })?;
    if frames.is_empty() { Ok(()) } else { give(full(&mut bytes, &mut frames)) }
}

fn full(bytes: &mut Vec<u8>, frames: &mut Vec<(Sha256, u64, u32)>) -> FullPack {
    let full = FullPack {
        part: BlobPart::of(PACK, bytes),
        bytes: bytes.as_slice().into(),
        frames: std::mem::take(frames),
    };
    bytes.clear();
    full
}

/// Unpacks a window's frame into a buffer of a window's length, and fails unless it is what it should be.
pub(super) fn unpack<'a>(
    frame: &[u8],
    sum: Sha256,
    length: usize,
    buffer: &'a mut [u8],
) -> Result<&'a [u8]> {
    let window = &mut buffer[..length];
    let unpacked = zstd::bulk::decompress_to_buffer(frame, window).unwrap_or_default();
    if unpacked != length || Sha256::of(&*window) != sum {
        return Err(Error::failure(format!(
            "a window of the disk is not what its index says: {sum}"
        ))
        .hint("the registry, or something on the way to it, changed it: do not use it"));
    }
    Ok(window)
}

/// Frames that are near each other in one pack, fetched by one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// In order, without doubles.
    pub(super) frames: Vec<(Frame, Sha256)>,
}

/// The most bytes that are fetched only because they lie between others: cheaper than one more request.
const GAP: u64 = 128 << 10;
/// The most bytes of a stretch, so that several can come at once.
const STRETCH: u64 = 64 << 20;

/// Cuts sorted frames into stretches, each of one pack.
pub(super) fn stretches(frames: Vec<(Frame, Sha256)>) -> Vec<Stretch> {
    let mut all: Vec<Stretch> = Vec::new();
    for (frame, sum) in frames {
        let end = frame.offset + u64::from(frame.length);
        let fits = all.last().is_some_and(|last| {
            let (first, before) = (last.frames[0].0, last.frames[last.frames.len() - 1].0);
            let gap = frame.offset.saturating_sub(before.offset + u64::from(before.length));
            first.pack == frame.pack && gap <= GAP && end - first.offset <= STRETCH
        });
        match all.last_mut().filter(|_| fits) {
            Some(last) => last.frames.push((frame, sum)),
            None => all.push(Stretch { frames: vec![(frame, sum)] }),
        }
    }
    all
}

/// Cuts the bytes of a pack, which come in pieces, into the frames that are wanted.
pub(super) struct FrameCutter<'a> {
    /// What is still wanted, in order.
    left: &'a [(Frame, Sha256)],
    /// The beginning of the next frame.
    held: Vec<u8>,
}

impl<'a> FrameCutter<'a> {
    pub(super) fn new(frames: &'a [(Frame, Sha256)]) -> Self {
        Self { left: frames, held: Vec::with_capacity(FRAME_LIMIT as usize) }
    }

    /// What did not come yet.
    pub(super) fn left(&self) -> &'a [(Frame, Sha256)] {
        self.left
    }

    /// Takes the next piece, which begins at `at` in the pack; pieces come without gaps.
    pub(super) fn take(
        &mut self,
        mut at: u64,
        mut piece: &[u8],
        mut give: impl FnMut(Sha256, &[u8]) -> Result<()>,
    ) -> Result<()> {
        while let Some((frame, sum)) = self.left.first() {
            let begin = frame.offset + self.held.len() as u64;
            let skipped = usize::try_from(begin.saturating_sub(at)).unwrap_or(usize::MAX);
            if skipped >= piece.len() {
                break;
            }
            (at, piece) = (at + skipped as u64, &piece[skipped..]);
            let missing = frame.length as usize - self.held.len();
            let part = &piece[..missing.min(piece.len())];
            self.held.extend_from_slice(part);
            if part.len() < missing {
                break;
            }
            give(*sum, &self.held)?;
            self.held.clear();
            self.left = &self.left[1..];
            (at, piece) = (at + part.len() as u64, &piece[part.len()..]);
        }
        Ok(())
    }

    /// A connection broke: what was begun comes again.
    pub(super) fn forget(&mut self) {
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(pack: u32, offset: u64, length: u32) -> (Frame, Sha256) {
        (Frame { pack, offset, length }, Sha256::of(offset.to_be_bytes()))
    }

    #[test]
    fn stretches_are_of_one_pack_and_near() {
        let lengths = |frames: Vec<_>| -> Vec<usize> {
            stretches(frames).iter().map(|it| it.frames.len()).collect()
        };
        assert_eq!(lengths(vec![frame(0, 0, 10), frame(0, 10, 10), frame(1, 20, 10)]), [2, 1]);
        assert_eq!(
            lengths(vec![frame(0, 0, 10), frame(0, 10 + GAP, 10), frame(0, 21 + 2 * GAP, 10)]),
            [2, 1]
        );
        let many: Vec<_> = (0..600).map(|it| frame(0, it << 16, 1 << 16)).collect();
        assert_eq!(lengths(many), [600]);
        assert!(stretches(Vec::new()).is_empty());
    }

    #[test]
    fn frames_are_cut_from_pieces_of_any_length() {
        let pack: Vec<u8> = (0..=255).collect();
        let frames = [frame(0, 3, 7), frame(0, 10, 1), frame(0, 40, 100), frame(0, 250, 6)];
        for length in 1..=256 {
            for start in [0, 3] {
                let mut found = Vec::new();
                let mut cutter = FrameCutter::new(&frames);
                for (number, piece) in pack[start..].chunks(length).enumerate() {
                    let at = (start + number * length) as u64;
                    cutter
                        .take(at, piece, |_, bytes| {
                            found.push((bytes[0], bytes.len()));
                            Ok(())
                        })
                        .unwrap();
                }
                assert_eq!(found, [(3, 7), (10, 1), (40, 100), (250, 6)], "{length}");
                assert!(cutter.left().is_empty());
            }
        }
    }
}
