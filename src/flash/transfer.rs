//! All of a range, however little a device takes at once, and which sector it was that failed.

use std::io;
use std::ops::Range;

use rustix::io::Errno;

use super::buffer::Buffer;
use super::pipeline::{CHUNK, chunks, length};
use super::target::Target;
use crate::disk::is_zero;
use crate::util::error::{Error, Result};
use crate::util::interrupt;

/// The unit in which zeros are told from data, in bytes.
pub(super) const BLOCK: usize = 64 * 1024;

/// Writes all of `data` at `offset`.
pub(super) fn put(target: &mut dyn Target, mut data: &[u8], mut offset: u64) -> Result<()> {
    while !data.is_empty() {
        let error = match target.write_at(data, offset) {
            Ok(0) => io::ErrorKind::WriteZero.into(),
            Ok(written) => {
                data = &data[written..];
                offset += written as u64;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => error,
        };
        let sector = target.sector_size() as usize;
        if !is_bad_medium(&error) || data.len() <= sector {
            return Err(failure("written to", target, offset, error));
        }
        // Some sector in there is bad; halves lead to the first.
        let half = (data.len() / 2).next_multiple_of(sector);
        put(target, &data[..half], offset)?;
        data = &data[half..];
        offset += half as u64;
    }
    Ok(())
}

/// Fills all of `buffer` from `offset`.
pub(super) fn get(target: &mut dyn Target, mut buffer: &mut [u8], mut offset: u64) -> Result<()> {
    while !buffer.is_empty() {
        let error = match target.read_at(buffer, offset) {
            Ok(0) => io::ErrorKind::UnexpectedEof.into(),
            Ok(read) => {
                buffer = &mut buffer[read..];
                offset += read as u64;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => error,
        };
        let sector = target.sector_size() as usize;
        if !is_bad_medium(&error) || buffer.len() <= sector {
            return Err(failure("read back", target, offset, error));
        }
        let half = (buffer.len() / 2).next_multiple_of(sector);
        let (first, second) = buffer.split_at_mut(half);
        get(target, first, offset)?;
        buffer = second;
        offset += half as u64;
    }
    Ok(())
}

/// Makes `range` read as zeros.
///
/// A discard does not promise that, so where the device cannot clear, it is read, and zeros are
/// written over what else is there: reading is several times as fast as writing on cards and
/// sticks, and wears nothing.
pub(super) fn zero(target: &mut dyn Target, range: Range<u64>) -> Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    match target.clear(range.clone()) {
        Ok(true) => return Ok(()),
        Ok(false) => {}
        Err(error) => return Err(failure("cleared", target, range.start, error)),
    }
    let zeros = Buffer::new(BLOCK);
    let mut buffer = Buffer::new(length(&(0..CHUNK.min(range.end - range.start))));
    for chunk in chunks(range) {
        interrupt::check()?;
        let bytes = &mut buffer[..length(&chunk)];
        // What cannot be read may well be written: a drive then takes a spare sector.
        let unreadable = get(target, bytes, chunk.start).is_err();
        let mut offset = chunk.start;
        for block in bytes.chunks(BLOCK) {
            if unreadable || !is_zero(block) {
                put(target, &zeros[..block.len()], offset)?;
            }
            offset += block.len() as u64;
        }
    }
    Ok(())
}

/// Waits until everything is on the medium.
pub(super) fn sync(target: &mut dyn Target) -> Result<()> {
    target.sync().map_err(|error| {
        Error::from(error).context("the device lost what it had in its cache").hint(REMEDY)
    })
}

const REMEDY: &str = "it may be worn out, or was pulled: try another one, or another reader";

/// Whether one sector may be to blame, and not the whole device.
fn is_bad_medium(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

fn failure(done: &str, target: &dyn Target, offset: u64, error: io::Error) -> Error {
    let sector = offset / u64::from(target.sector_size());
    Error::from(error)
        .context(format!("the device cannot be {done} at byte {offset} (sector {sector})"))
        .hint(REMEDY)
}
