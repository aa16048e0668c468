//! Room for what must be decompressed before it is a disk.

use std::path::{Path, PathBuf};

/// Where compressed images are decompressed to, and how large they may become.
#[derive(Clone, Debug)]
pub struct Scratch {
    /// A folder with room for the image; the file in it has no name and goes with the process.
    pub folder: PathBuf,
    /// The most bytes an image may have: what a few megabytes unpack to can fill any disk.
    pub limit: u64,
}

impl Default for Scratch {
    /// `$TMPDIR`, else `/var/tmp`: `/tmp` is often memory. 64 GiB.
    fn default() -> Self {
        let large = Path::new("/var/tmp");
        let folder = match std::env::var_os("TMPDIR") {
            None if large.is_dir() => large.to_owned(),
            _ => std::env::temp_dir(),
        };
        Self { folder, limit: 64 << 30 }
    }
}
