//! What was written, remembered in 32 bytes a chunk.

use crate::disk::is_zero;
use crate::util::sha256::Sha256;

/// A chunk's SHA-256; `None` for zeros, which are told faster than hashed.
type Fingerprint = Option<Sha256>;

/// The fingerprints of chunks in their order.
#[derive(Default)]
pub(super) struct Fingerprints(Vec<Fingerprint>);

impl Fingerprints {
    /// Remembers the next chunk.
    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.0.push(of(chunk));
    }

    /// Whether these are the bytes of chunk `index`.
    pub(super) fn matches(&self, index: usize, chunk: &[u8]) -> bool {
        self.0.get(index).is_some_and(|expected| *expected == of(chunk))
    }
}

fn of(chunk: &[u8]) -> Fingerprint {
    (!is_zero(chunk)).then(|| Sha256::of(chunk))
}
