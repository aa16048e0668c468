//! `.img.xz`: one stream of many blocks that can be unpacked on several processors.
//!
//! Each block is packed by liblzma as a stream of its own; here their blocks are put into one
//! stream with one index. Source: The .xz File Format 1.2.

use std::io::Read as _;

use flate2::Crc;
use liblzma::read::XzEncoder;
use liblzma::stream::{Check, MtStreamBuilder};

use super::definition::{ArtifactFormat, NodeArtifact, NodeWriter, Reading, WholeImage};
use crate::artifact::codec::{Codec, Packed, Sizes};
use crate::artifact::compressed;
use crate::util::error::{Error, Result};

pub(super) static FORMAT: ArtifactFormat = ArtifactFormat {
    name: "raw.xz",
    variants: &[],
    node: Some(NodeArtifact { ending: ".img.xz", writer: NodeWriter::Together(&Xz) }),
    shared: None,
    disk_in_bundle: None,
    reading: Reading::Forward(9),
    runs_in_place: false,
    has_bmap: true,
    whole: Some(WholeImage {
        endings: &[".img.xz", ".raw.xz"],
        write: |file, _, disk| compressed::write_one(&Xz, file, disk),
    }),
    options: |_, _| String::new(),
};

const LEVEL: u32 = 6;

/// Bytes of the disk in a block; its last one may have fewer.
///
/// That of the level's dictionary: a block loses little by not seeing the one before it, and a
/// node has to pack few bytes of its own.
const BLOCK: u64 = 8 << 20;

/// Length of a stream's header, and of its footer.
const ENDS: usize = 12;

/// What a header and a footer say of the stream: blocks have a CRC-64.
const FLAGS: [u8; 2] = [0, 4];

/// What flashing tools expect.
struct Xz;

impl Codec for Xz {
    fn name(&self) -> &'static str {
        "xz"
    }

    fn piece(&self) -> u64 {
        BLOCK
    }

    fn head(&self) -> Vec<u8> {
        header().into()
    }

    /// One block, padded.
    fn pack(&self, bytes: &[u8]) -> Result<Packed> {
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
        only_block(stream_bytes, bytes.len() as u64)
            .ok_or_else(|| Error::failure("liblzma packed one block as something else"))
    }

    /// The index and the footer.
    fn tail(&self, blocks: &[Sizes]) -> Vec<u8> {
        let mut tail = render_index(blocks);
        let words = u32::try_from(tail.len() / 4 - 1).expect("an index is small");
        let mut footer = Vec::from(words.to_le_bytes());
        footer.extend(FLAGS);
        tail.extend(crc(&footer));
        tail.extend(footer);
        tail.extend(b"YZ");
        tail
    }
}

/// What a stream begins with.
fn header() -> [u8; ENDS] {
    let mut header = *b"\xfd7zXZ\0\0\0\0\0\0\0";
    header[6..8].copy_from_slice(&FLAGS);
    header[8..].copy_from_slice(&crc(&FLAGS));
    header
}

/// The block of a stream that has no other.
fn only_block(mut stream: Vec<u8>, unpacked: u64) -> Option<Packed> {
    let is_ours = stream.starts_with(&header());
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
    let sizes = Sizes { packed, unpacked, crc32: 0 };
    (is_ours && is_whole && is_all).then_some(Packed { bytes: stream, sizes })
}

fn render_index(blocks: &[Sizes]) -> Vec<u8> {
    let mut index = vec![0];
    push_number(&mut index, blocks.len() as u64);
    for block in blocks {
        push_number(&mut index, block.packed);
        push_number(&mut index, block.unpacked);
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
