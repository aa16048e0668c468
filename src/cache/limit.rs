//! The most bytes the cache may take.

use crate::util::error::{Context as _, Result};

/// A size like `20G`.
const VARIABLE: &str = "NODEFORGE_CACHE_SIZE";

/// The limit that the environment sets, if any.
pub(super) fn from_environment() -> Result<Option<u64>> {
    let Some(text) = std::env::var_os(VARIABLE) else { return Ok(None) };
    crate::config::parse_size(&text.to_string_lossy())
        .map(Some)
        .context(|| format!("reading {VARIABLE}"))
}
