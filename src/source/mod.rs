//! Where a base comes from, and where it is kept.

mod about;
#[cfg(target_os = "linux")]
pub(crate) mod bootstrap;
mod cache;
#[cfg(target_os = "linux")]
mod layout;
#[cfg(target_os = "linux")]
mod loader;

pub use about::{About, Package};
#[cfg(target_os = "linux")]
pub use bootstrap::bootstrap;
pub(crate) use cache::Made;
pub use cache::{Cache, CachedImage};
