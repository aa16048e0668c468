//! What a build is about to publish, written down first, so that a killed one still owns it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The file's name in the output folder.
pub(super) const CLAIMS: &str = ".nodeforge-publishing";

/// Paths that a killed build was publishing.
pub(super) fn claimed(output: &Path) -> BTreeSet<String> {
    let text = fs::read(output.join(CLAIMS)).ok();
    text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}
