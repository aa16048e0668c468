//! Our disks as the ext4 crate wants them, and a clock that stands still.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fs_ext4::block_io::BlockDevice;
use fs_ext4::error::Result;
use fs_ext4::runtime::Runtime;

use crate::disk::Disk;

/// A disk without its flushes: an overlay has nothing to flush, and the code that writes an image in
/// place syncs it once at the end instead of at every commit.
pub(super) struct Ext4Device(pub(super) Arc<dyn Disk>);

impl BlockDevice for Ext4Device {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        Ok(self.0.read_at(buffer, offset)?)
    }

    fn size_bytes(&self) -> u64 {
        self.0.size()
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        Ok(self.0.write_at(data, offset)?)
    }

    fn is_writable(&self) -> bool {
        self.0.is_writable()
    }
}

/// The same time for ever, and generations that count up from it: the same edits give the same
/// bits.
pub(super) struct FixedRuntime {
    clock: i64,
    generation: AtomicU32,
}

impl FixedRuntime {
    /// A runtime whose time is `clock`, in seconds since 1970.
    pub(super) fn new(clock: i64) -> Self {
        // Only NFS looks at generations; the low bits of the clock keep two sessions apart.
        let seed = u32::try_from(clock & 0xffff_ffff).expect("masked to 32 bits");
        Self { clock, generation: AtomicU32::new(seed) }
    }

    /// Its time, in seconds since 1970.
    pub(super) fn seconds(&self) -> i64 {
        self.clock
    }
}

impl Runtime for FixedRuntime {
    fn now_unix_seconds(&self) -> i64 {
        self.clock
    }

    fn next_inode_generation(&self) -> u32 {
        self.generation.fetch_add(1, Ordering::Relaxed)
    }
}
