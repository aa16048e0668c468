//! zstd in the seekable format: frames that can be unpacked one by one, on several processors or
//! from the middle, and a table of them at the end that other decoders skip.
//!
//! Source: `contrib/seekable_format/zstd_seekable_compression_format.md` of zstd, version 0.1.0.

use std::io::Write;

use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

use super::compressed::Pieces;
use crate::disk::Disk;
use crate::error::Result;
use crate::threads;

const LEVEL: i32 = 9;

/// Bytes of the disk in a frame; its last one may have fewer.
const FRAME: u64 = 4 << 20;

/// A skippable frame, of the number that the format has chosen.
const SKIPPABLE: u32 = 0x184d_2a5e;
const MAGIC: u32 = 0x8f92_eab1;

/// Writes all of a disk. The bits do not depend on the number of processors.
pub(super) fn write(out: &mut impl Write, disk: &dyn Disk) -> Result<()> {
    let pieces = Pieces { disk, length: FRAME };
    let hole = (pack(&pieces.zeros())?, pieces.zeros().len());
    let mut table = Vec::new();
    threads::in_order(
        pieces.count(),
        |number| match pieces.read(number)? {
            Some(bytes) => Ok((pack(&bytes)?, bytes.len())),
            None => Ok(hole.clone()),
        },
        |(packed, length)| {
            out.write_all(&packed)?;
            table.push((packed.len(), length));
            Ok(())
        },
    )?;
    out.write_all(&seek_table(&table))?;
    Ok(())
}

/// One frame, with its size before and a checksum after the data.
fn pack(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut compressor = Compressor::new(LEVEL)?;
    compressor.set_parameter(CParameter::ChecksumFlag(true))?;
    Ok(compressor.compress(bytes)?)
}

/// The last frame: sizes of all others, packed and unpacked.
fn seek_table(frames: &[(usize, usize)]) -> Vec<u8> {
    let number = |count: usize| u32::try_from(count).expect("frames are small").to_le_bytes();
    let mut table = Vec::with_capacity(17 + frames.len() * 8);
    table.extend(SKIPPABLE.to_le_bytes());
    table.extend(number(frames.len() * 8 + 9));
    for (packed, unpacked) in frames {
        table.extend(number(*packed));
        table.extend(number(*unpacked));
    }
    table.extend(number(frames.len()));
    table.push(0); // frames have their own checksums
    table.extend(MAGIC.to_le_bytes());
    table
}
