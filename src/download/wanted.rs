//! What is to be downloaded.

use super::checksums::Hashes;
use super::openpgp::Verifier;

/// Bytes read and passed on at once.
pub(super) const CHUNK: usize = 256 << 10;

/// A file to be downloaded, and what it must be.
pub(crate) struct Wanted<'a> {
    pub(crate) url: &'a str,
    pub(crate) hashes: Hashes,
    pub(crate) verifier: Option<&'a Verifier>,
    /// Whether a disk image is to be unpacked from it; else it is kept as it comes.
    pub(crate) is_image: bool,
    /// The most bytes the raw image, or the file, may have.
    pub(crate) limit: u64,
    /// The name of its part.
    pub(crate) key: &'a str,
}
