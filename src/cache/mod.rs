//! What took long to make or to fetch, kept under hashes: images and single files.

mod about;
mod blobs;
mod deb;
mod files;
mod hashes;
mod images;
mod leftovers;
mod limit;
mod prune;
mod store;
mod trust;

pub use about::{About, Package, PulledFrom};
pub(crate) use blobs::KEYS;
pub(crate) use deb::is_whole as is_whole_package;
pub(crate) use deb::package_files;
pub(crate) use hashes::sha256_of;
pub(crate) use images::Made;
pub use prune::{Kept, Limits};
pub(crate) use store::lock;
pub(crate) use store::{BASES, EPOCH, PARTS, PREPARED, touch};
pub use store::{Cache, CachedImage};
