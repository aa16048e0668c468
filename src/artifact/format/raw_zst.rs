//! `.img.zst`: zstd in the seekable format: frames that can be unpacked one by one, on several processors or
//! from the middle, and a table of them at the end that other decoders skip.
//!
//! Source: `contrib/seekable_format/zstd_seekable_compression_format.md` of zstd, version 0.1.0.

use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

use super::definition::{ArtifactFormat, NodeArtifact, NodeWriter, Reading, WholeImage};
use crate::artifact::codec::{Codec, Packed, Sizes};
use crate::artifact::compressed;
use crate::util::error::Result;

pub(super) static FORMAT: ArtifactFormat = ArtifactFormat {
    name: "raw.zst",
    variants: &[],
    node: Some(NodeArtifact { ending: ".img.zst", writer: NodeWriter::Together(&Zstd) }),
    shared: None,
    disk_in_bundle: None,
    reading: Reading::Forward(1),
    runs_in_place: false,
    has_bmap: true,
    whole: Some(WholeImage {
        endings: &[".img.zst", ".raw.zst"],
        write: |file, _, disk| compressed::write_one(&Zstd, file, disk),
    }),
    options: |_, _| String::new(),
};

const LEVEL: i32 = 9;

/// Bytes of the disk in a frame; its last one may have fewer.
const FRAME: u64 = 4 << 20;

/// A skippable frame, of the number that the format has chosen.
const SKIPPABLE: u32 = 0x184d_2a5e;
const MAGIC: u32 = 0x8f92_eab1;

/// Several times as fast as xz, a little larger.
struct Zstd;

impl Codec for Zstd {
    fn name(&self) -> &'static str {
        "zstd"
    }

    fn piece(&self) -> u64 {
        FRAME
    }

    fn head(&self) -> Vec<u8> {
        Vec::new()
    }

    /// One frame, with its size before and a checksum after the data.
    fn pack(&self, bytes: &[u8]) -> Result<Packed> {
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        let packed = compressor.compress(bytes)?;
        let sizes = Sizes { packed: packed.len() as u64, unpacked: bytes.len() as u64, crc32: 0 };
        Ok(Packed { bytes: packed, sizes })
    }

    /// The last frame: sizes of all others, packed and unpacked.
    fn tail(&self, frames: &[Sizes]) -> Vec<u8> {
        let number = |count: u64| u32::try_from(count).expect("frames are small").to_le_bytes();
        let mut table = Vec::with_capacity(17 + frames.len() * 8);
        table.extend(SKIPPABLE.to_le_bytes());
        table.extend(number(frames.len() as u64 * 8 + 9));
        for frame in frames {
            table.extend(number(frame.packed));
            table.extend(number(frame.unpacked));
        }
        table.extend(number(frames.len() as u64));
        table.push(0); // frames have their own checksums
        table.extend(MAGIC.to_le_bytes());
        table
    }
}
