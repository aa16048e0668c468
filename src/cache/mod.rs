//! What took long to make or to fetch, kept under hashes: images and single files.

mod about;
mod blobs;
pub(crate) mod hashes;
mod images;
mod prune;

pub use about::{About, Package};
pub(crate) use blobs::KEYS;
pub(crate) use hashes::sha256_of;
pub use images::{Cache, CachedImage};
pub(crate) use images::{Made, PREPARED, lock, touch};
pub use prune::{Kept, Limits};
