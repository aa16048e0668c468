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
mod reuse;
mod seeds;

pub use manifest::PreparedConfig;
pub use pull::{FoundBase, Pulled, find, pull};
pub use push::{PushRequest, Pushed, push};

/// Reads what a registry may have, each part whatever it is: for fuzzing. The index comes unpacked, so that something is
/// found, and as it is.
#[cfg(all(target_os = "linux", any(test, feature = "fuzzing")))]
pub(crate) fn read_any(manifest: &[u8], config: &[u8], index: &[u8]) {
    if let Ok(config) = PreparedConfig::parse(config) {
        assert!(config.packages.iter().all(crate::cache::Package::is_well_formed));
    }
    let manifest = manifest::PreparedManifest::parse(manifest);
    let packs = manifest.as_ref().map_or(&[][..], |it| it.packs());
    let packed = zstd::bulk::compress(index, 1).unwrap_or_default();
    for bytes in [&packed, index] {
        let Ok(index) = index::WindowIndex::parse(bytes, packs) else { continue };
        let mut frames: Vec<_> = index.windows.iter().map(|it| (it.2, it.1)).collect();
        frames.sort_unstable();
        frames.dedup();
        for stretch in packs::stretches(frames) {
            let (frame, _) = stretch.frames[0];
            assert!(frame.offset + u64::from(frame.length) <= packs[frame.pack as usize].size);
            let mut cutter = packs::FrameCutter::new(&stretch.frames);
            drop(cutter.take(frame.offset, &[0; 4096], |_, _| Ok(())));
        }
    }
}
