//! Where an image goes.

use std::io;
use std::ops::Range;

/// A whole device, or something that stands for one. Offsets and sizes are in bytes, and those of
/// transfers are multiples of [`Target::sector_size`].
pub trait Target: Send {
    /// How many bytes it has.
    fn size(&self) -> u64;

    /// The unit of every transfer.
    fn sector_size(&self) -> u32;

    /// Writes some of `data`, and says how much.
    fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<usize>;

    /// Fills some of `buffer`, and says how much.
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes `range` read as zeros without transferring them; `false` where it cannot promise that.
    fn clear(&mut self, range: Range<u64>) -> io::Result<bool>;

    /// Tells the device that the bytes of `range` are not needed any more. What they read as
    /// afterwards is anybody's guess, and so is whether the device cares.
    fn discard(&mut self, range: Range<u64>);

    /// Waits until everything written is on the medium.
    fn sync(&mut self) -> io::Result<()>;

    /// Makes the next reads come from the medium, not from memory.
    fn forget(&mut self) -> io::Result<()>;
}
