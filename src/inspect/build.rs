//! The build that an image came out of, from the manifest in its folder.

use std::io::Read as _;
use std::path::Path;

use serde::Serialize;

use crate::artifact::Manifest;
use crate::disk::open_regular;
use crate::util::sha256::Sha256;

/// The build that an image came out of.
#[derive(Clone, Debug, Serialize)]
pub struct BuildFacts {
    /// The tool and its version.
    pub generator: String,
    /// The cluster's name.
    pub cluster: String,
    /// The profile's name.
    pub profile: String,
    /// SHA-256 of the image's file as it came out, in hexadecimal.
    pub sha256: Sha256,
}

/// More than any manifest has, in bytes.
const LIMIT: u64 = 64 << 20;

impl BuildFacts {
    /// `None` when no manifest in the image's folder, or in the one its bundle is in, lists it.
    pub(super) fn of(image: &Path) -> Option<Self> {
        let image = image.canonicalize().ok()?;
        image.ancestors().skip(1).take(2).find_map(|folder| {
            let mut text = Vec::new();
            let file = open_regular(&folder.join(Manifest::NAME)).ok()?;
            file.take(LIMIT).read_to_end(&mut text).ok()?;
            // A manifest that says other things than ours is another tool's.
            let manifest: Manifest = serde_json::from_slice(&text).ok()?;
            let path = image.strip_prefix(folder).ok()?.to_str()?;
            let record = manifest.artifacts.into_iter().find(|record| record.path == path)?;
            let Manifest { generator, cluster, profile, .. } = manifest;
            Some(Self { generator, cluster, profile, sha256: record.sha256 })
        })
    }
}
