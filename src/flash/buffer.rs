//! Memory that devices transfer to and from directly.

use std::ops::{Deref, DerefMut};

/// More than any device asks for: `O_DIRECT` wants at most the sector size.
const ALIGNMENT: usize = 4096;

/// Bytes that begin at a multiple of a page.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl Buffer {
    /// `length` zeros.
    pub(super) fn new(length: usize) -> Self {
        // Never grown, so that its bytes stay where they are.
        let bytes = vec![0; length + ALIGNMENT];
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        Self { bytes, start, length }
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..][..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..][..self.length]
    }
}
