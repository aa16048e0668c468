//! Where a base comes from, and where it is kept.

mod about;
#[cfg(target_os = "linux")]
pub(crate) mod bootstrap;
mod cache;
mod catalogue;
mod checksums;
mod deb;
mod download;
mod http;
mod import;
mod keep;
#[cfg(target_os = "linux")]
mod layout;
#[cfg(target_os = "linux")]
mod loader;
mod lock;
mod loose;
mod memo;
mod obtain;
mod openpgp;
mod provenance;
mod proxy;
#[cfg(target_os = "linux")]
mod raspberry_pi;
mod remote;
mod retry;
mod supply;
mod unpack;

pub use about::{About, Package};
#[cfg(target_os = "linux")]
pub use bootstrap::bootstrap;
pub use cache::{Cache, CachedImage};
pub(crate) use cache::{Made, PREPARED};
pub use catalogue::{Catalogue, Entry};
pub use keep::{Kept, Limits, Pruned};
pub use lock::{Lock, LockedArtifact, LockedBase, LockedKey};
pub(crate) use obtain::would_change;
pub use obtain::{Obtained, Options, Source, request};
pub use supply::{Supplies, Supply};
