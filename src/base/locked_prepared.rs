//! What a lock file says of a prepared base in a registry.

use serde::{Deserialize, Serialize};

/// A prepared base in a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedPrepared {
    /// The hash of everything that it was made of: 64 hexadecimal digits.
    pub key: String,
    /// Where it was when it was pinned: `ghcr.io/me/nodeforge:home-arm64`.
    pub reference: String,
    /// Of its manifest: `sha256:…`.
    pub digest: String,
}
