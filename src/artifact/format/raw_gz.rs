//! `.img.gz`: one gzip member, packed in pieces on all processors.
//!
//! Each piece is deflated on its own and ends on a whole byte, with an empty block that is not the
//! last one (what zlib calls a sync flush): put one after the other they are one deflate stream. One
//! member, not one for each piece, because not every small unpacker reads on after the first: U-Boot's
//! `gzwrite` does not. Sources: RFC 1951 and RFC 1952.

use std::io;

use flate2::{Compress, Compression, Crc, FlushCompress};

use super::definition::{ArtifactFormat, NodeArtifact, NodeWriter, Reading, WholeImage};
use crate::artifact::codec::{Codec, Packed, Sizes};
use crate::artifact::compressed;
use crate::util::error::{Error, Result};

pub(super) static FORMAT: ArtifactFormat = ArtifactFormat {
    name: "raw.gz",
    variants: &[],
    node: Some(NodeArtifact { ending: ".img.gz", writer: NodeWriter::Together(&Gzip) }),
    shared: None,
    disk_in_bundle: None,
    reading: Reading::Forward(5),
    runs_in_place: false,
    has_bmap: true,
    whole: Some(WholeImage {
        endings: &[".img.gz", ".raw.gz"],
        write: |file, _, disk| compressed::write_one(&Gzip, file, disk),
    }),
    options: |_, _| String::new(),
};

const LEVEL: Compression = Compression::new(6);

/// Bytes of the disk in a piece; its last one may have fewer. Far more than the 32 KiB that deflate
/// looks back, so that a piece loses little by not seeing the one before it.
const PIECE: u64 = 4 << 20;

/// Deflate, no name, no time (the same disk gives the same file), an unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// The last block of a deflate stream, empty.
const LAST_BLOCK: [u8; 2] = [3, 0];

/// What even the smallest rescue systems unpack.
struct Gzip;

impl Codec for Gzip {
    fn name(&self) -> &'static str {
        "gzip"
    }

    fn piece(&self) -> u64 {
        PIECE
    }

    fn head(&self) -> Vec<u8> {
        HEADER.into()
    }

    fn pack(&self, bytes: &[u8]) -> Result<Packed> {
        let mut deflate = Compress::new(LEVEL, false);
        // Room for the worst case, blocks stored as they are: only where room is left has all of it
        // come out.
        let mut packed = Vec::with_capacity(bytes.len() + bytes.len() / 64 + 1024);
        deflate.compress_vec(bytes, &mut packed, FlushCompress::Sync).map_err(io::Error::from)?;
        if deflate.total_in() != bytes.len() as u64 || packed.len() == packed.capacity() {
            return Err(Error::failure("cannot compress: the packed bytes outgrow their room"));
        }
        let mut crc = Crc::new();
        crc.update(bytes);
        let (packed_size, unpacked) = (packed.len() as u64, bytes.len() as u64);
        let sizes = Sizes { packed: packed_size, unpacked, crc32: crc.sum() };
        Ok(Packed { bytes: packed, sizes })
    }

    /// The end of the stream, the CRC-32 and the size of all that was packed, modulo 2^32.
    fn tail(&self, pieces: &[Sizes]) -> Vec<u8> {
        let crc = pieces.iter().fold(0, |crc, it| join_crc(crc, it.crc32, it.unpacked));
        let size: u64 = pieces.iter().map(|it| it.unpacked).sum();
        let mut tail = Vec::from(LAST_BLOCK);
        tail.extend(crc.to_le_bytes());
        tail.extend(&size.to_le_bytes()[..4]);
        tail
    }
}

/// The CRC-32 of two pieces, one after the other, from those of each; the second has `length` bytes.
fn join_crc(first: u32, second: u32, length: u64) -> u32 {
    // A CRC is a remainder of polynomials over GF(2): bytes that follow multiply it by x^8 each.
    let mut power = 0x0080_0000; // x^8
    let mut shifted = first;
    let mut left = length;
    while left > 0 {
        if left & 1 == 1 {
            shifted = multiply(power, shifted);
        }
        power = multiply(power, power);
        left >>= 1;
    }
    shifted ^ second
}

/// The product of two polynomials modulo that of CRC-32. The highest bit is the factor of x^0.
fn multiply(a: u32, mut b: u32) -> u32 {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let mut product = 0;
    for bit in (0..32).rev() {
        if a >> bit & 1 == 1 {
            product ^= b;
        }
        b = (b >> 1) ^ if b & 1 == 1 { POLYNOMIAL } else { 0 };
    }
    product
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::bufread::GzDecoder;

    use super::*;

    #[test]
    fn pieces_make_one_member() {
        // The second half is noise, which cannot be packed: it outgrows any buffer on its way.
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        let mut bytes: Vec<u8> =
            (0..300_000_u32).map(|at| (at.wrapping_mul(at) >> 7).to_le_bytes()[0]).collect();
        bytes.extend(std::iter::repeat_with(&mut noise).take(700_000));
        for lengths in [&[1_000_000][..], &[1, 999_999], &[100_000, 65_536, 7], &[400_000, 600_000]]
        {
            let mut file = Gzip.head();
            let (mut sizes, mut at) = (Vec::new(), 0);
            for length in lengths {
                let packed = Gzip.pack(&bytes[at..at + length]).expect("packed");
                at += length;
                file.extend(packed.bytes);
                sizes.push(packed.sizes);
            }
            file.extend(Gzip.tail(&sizes));
            // It reads one member, and checks what its end says.
            let mut unpacked = Vec::new();
            let mut decoder = GzDecoder::new(file.as_slice());
            decoder.read_to_end(&mut unpacked).expect("sound");
            assert!(unpacked == bytes[..at]);
            assert!(decoder.into_inner().is_empty());
        }
    }
}
