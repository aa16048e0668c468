//! xz: one stream of many blocks that can be unpacked on several processors.
//!
//! Each block is packed by liblzma as a stream of its own; here their blocks are put into one
//! stream with one index. Source: The .xz File Format 1.2.

use std::io::{Read as _, Write};

use flate2::Crc;
use liblzma::read::XzEncoder;
use liblzma::stream::{Check, MtStreamBuilder};

use super::compressed::Pieces;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::threads;

const LEVEL: u32 = 6;

/// Bytes of the disk in a block; its last one may have fewer.
const BLOCK: u64 = 16 << 20;

/// Length of a stream's header, and of its footer.
const ENDS: usize = 12;

/// A block, with what an index says of it.
#[derive(Clone)]
struct Block {
    bytes: Vec<u8>,
    /// Of `bytes`, without the padding at their end.
    packed: u64,
    unpacked: u64,
}

/// Writes all of a disk. The bits do not depend on the number of processors.
pub(super) fn write(out: &mut impl Write, disk: &dyn Disk) -> Result<()> {
    let pieces = Pieces { disk, length: BLOCK };
    let (header, hole) = pack(&pieces.zeros())?;
    out.write_all(&header)?;
    let mut index = Vec::new();
    threads::in_order(
        pieces.count(),
        |number| match pieces.read(number)? {
            Some(bytes) => Ok(pack(&bytes)?.1),
            None => Ok(hole.clone()),
        },
        |block| {
            out.write_all(&block.bytes)?;
            index.push((block.packed, block.unpacked));
            Ok(())
        },
    )?;
    let index = render_index(&index);
    out.write_all(&index)?;
    // The footer repeats what the header says of the stream.
    let mut footer = Vec::from(u32::try_from(index.len() / 4 - 1).expect("small").to_le_bytes());
    footer.extend(&header[6..8]);
    out.write_all(&crc(&footer))?;
    out.write_all(&footer)?;
    out.write_all(b"YZ")?;
    Ok(())
}

/// One block, and the header of the stream it was packed in.
fn pack(bytes: &[u8]) -> Result<([u8; ENDS], Block)> {
    // The encoder for many threads is the one that writes into a block how long it is.
    let stream = MtStreamBuilder::new()
        .preset(LEVEL)
        .block_size(BLOCK)
        .threads(1)
        .check(Check::Crc64)
        .encoder()
        .map_err(std::io::Error::other)?;
    let mut stream_bytes = Vec::new();
    XzEncoder::new_stream(bytes, stream).read_to_end(&mut stream_bytes)?;
    split(stream_bytes, bytes.len() as u64)
        .ok_or_else(|| Error::failure("liblzma packed one block as something else"))
}

/// The header and the only block of a stream.
fn split(mut stream: Vec<u8>, unpacked: u64) -> Option<([u8; ENDS], Block)> {
    let header = *stream.first_chunk()?;
    let footer: [u8; ENDS] = *stream.last_chunk()?;
    let [.., a, b, c, d, _, _, _, _] = footer;
    let index_length = (usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()? + 1) * 4;
    let end = stream.len().checked_sub(ENDS + index_length)?;
    let mut index = stream.get(end..)?;
    if index.get(..2)? != [0, 1] {
        return None;
    }
    index = &index[2..];
    let packed = number(&mut index)?;
    let is_all = number(&mut index)? == unpacked;
    stream.truncate(end);
    stream.drain(..ENDS);
    let is_whole = packed.next_multiple_of(4) == stream.len() as u64;
    (is_whole && is_all).then_some((header, Block { bytes: stream, packed, unpacked }))
}

fn render_index(blocks: &[(u64, u64)]) -> Vec<u8> {
    let mut index = vec![0];
    push_number(&mut index, blocks.len() as u64);
    for (packed, unpacked) in blocks {
        push_number(&mut index, *packed);
        push_number(&mut index, *unpacked);
    }
    index.resize(index.len().next_multiple_of(4), 0);
    index.extend(crc(&index));
    index
}

fn crc(bytes: &[u8]) -> [u8; 4] {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum().to_le_bytes()
}

/// Seven bits a byte, the least first.
fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
