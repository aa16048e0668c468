//! Prepared bases in OCI registries: pushed from the cache, and pulled into it.
//!
//! docs/registry.md describes the format. A prepared base is a manifest with an artifact type of its own; its disk is
//! cut into windows of 64 KiB, found by their SHA-256, which stand in packs; an index says where. What did not change
//! is not sent again, and what the cache has is not fetched.

mod blobs;
mod connection;
mod credentials;
mod index;
mod manifest;
mod packs;
mod pull;
mod push;
mod seeds;

pub use manifest::PreparedConfig;
pub use pull::{FoundBase, Pulled, find, pull, pulled_from};
pub use push::{Pushed, push};
