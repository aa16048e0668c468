//! Resolving a base: the catalogue, images on this machine, and what a lock file pins.

mod catalogue;
pub(crate) mod import;
mod inputs;
mod lock_file;
mod provenance;
mod remote;
mod resolve;

pub use catalogue::{Catalogue, Entry};
pub use inputs::{Supplies, Supply};
pub use lock_file::Lock;
pub(crate) use remote::with_fingerprint;
pub(crate) use resolve::{BASES, EPOCH, PARTS, would_change};
pub use resolve::{Obtained, Options, Source, request};
