//! Two threads with a few buffers between them: one fills while the other empties.

use std::ops::Range;
use std::sync::mpsc::sync_channel;

use super::buffer::Buffer;
use crate::util::error::Result;
use crate::util::interrupt;

/// Bytes moved at once: enough for a card to fill its erase blocks in one go.
pub(super) const CHUNK: u64 = 4 << 20;

/// Buffers in flight, which is what is in memory.
const BUFFERS: usize = 4;

/// `range` cut into chunks.
pub(super) fn chunks(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    range
        .step_by(usize::try_from(CHUNK).expect("a chunk fits in memory"))
        .map(move |start| start..end.min(start + CHUNK))
}

/// The bytes of a chunk, or of a part of one.
pub(super) fn length(range: &Range<u64>) -> usize {
    usize::try_from(range.end - range.start).expect("a chunk fits in memory")
}

/// Calls `fill` for each chunk of `range` on a thread of its own, and `empty` with what came of it
/// on this one, in order. Stops at the first error of either, or when asked to.
pub(super) fn run<T: Send>(
    range: Range<u64>,
    mut fill: impl FnMut(Range<u64>, &mut [u8]) -> Result<T> + Send,
    mut empty: impl FnMut(Range<u64>, &[u8], T) -> Result<()>,
) -> Result<()> {
    let (give_back, free) = sync_channel::<Buffer>(BUFFERS);
    let (hand_over, filled) = sync_channel(BUFFERS);
    for _ in 0..BUFFERS {
        give_back.send(Buffer::new(usize::try_from(CHUNK).expect("a chunk fits in memory"))).ok();
    }
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for chunk in chunks(range) {
                // The receiver has stopped.
                let Ok(mut buffer) = free.recv() else { break };
                let result = fill(chunk.clone(), &mut buffer[..length(&chunk)]);
                let failed = result.is_err();
                if hand_over.send(result.map(|it| (chunk, buffer, it))).is_err() || failed {
                    break;
                }
            }
        });
        // Taken in, so that leaving the loop early hangs up on the other thread.
        let (filled, give_back) = (filled, give_back);
        for result in &filled {
            interrupt::check()?;
            let (chunk, buffer, it) = result?;
            empty(chunk.clone(), &buffer[..length(&chunk)], it)?;
            give_back.send(buffer).ok();
        }
        Ok(())
    })
}
