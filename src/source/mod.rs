//! Where a base comes from, and where it is kept.

mod about;
#[cfg(target_os = "linux")]
pub(crate) mod bootstrap;
mod cache;
mod digest;
#[cfg(target_os = "linux")]
mod layout;
#[cfg(target_os = "linux")]
mod loader;

pub use about::{About, Package};
#[cfg(target_os = "linux")]
pub use bootstrap::bootstrap;
pub use cache::{Cache, CachedImage};
pub use digest::{hex, sha256_of_disk};
