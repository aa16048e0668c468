//! `.img.xz` and `.img.zst`: the node's disk streamed through a compressor.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::thread::available_parallelism;

use liblzma::stream::MtStreamBuilder;
use liblzma::write::XzEncoder;

use super::{PreparedBase, seekable};
use crate::disk::{Delta, Disk, Overlay};
use crate::error::Result;
use crate::interrupt;

/// How a raw image is compressed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Codec {
    /// What flashing tools expect.
    Xz,
    /// Several times as fast, a little larger.
    Zstd,
}

impl Codec {
    /// The file name's ending.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Xz => "xz",
            Self::Zstd => "zst",
        }
    }
}

/// Bytes of an xz block. It is fixed, so that the bits do not depend on the number of threads, and
/// what decompressing on several cores is possible by.
const XZ_BLOCK: u64 = 16 << 20;
const XZ_LEVEL: u32 = 6;

pub(super) fn write(
    path: &Path,
    prepared: &PreparedBase,
    delta: &Delta,
    codec: Codec,
) -> Result<()> {
    let disk = Overlay::with_delta(prepared.disk.clone(), delta.clone());
    let mut out = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
    let out = match codec {
        Codec::Xz => {
            let stream = MtStreamBuilder::new()
                .preset(XZ_LEVEL)
                .block_size(XZ_BLOCK)
                .threads(available_parallelism().map_or(1, |n| n.get().try_into().unwrap_or(1)))
                .check(liblzma::stream::Check::Crc64)
                .encoder()
                .map_err(io::Error::other)?;
            let mut encoder = XzEncoder::new_stream(out, stream);
            copy(&disk, &mut encoder)?;
            encoder.finish()?
        }
        Codec::Zstd => {
            seekable::write(&mut out, &disk)?;
            out
        }
    };
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(())
}

/// Streams all bytes of a disk; holes are not read.
fn copy(disk: &dyn Disk, out: &mut dyn Write) -> Result<()> {
    const CHUNK: u64 = 1 << 20;
    let mut buffer = vec![0; usize::try_from(CHUNK).expect("a MiB fits in memory")];
    let mut at = 0;
    while at < disk.size() {
        interrupt::check()?;
        let data = disk.next_data(at)?.unwrap_or(disk.size()..disk.size());
        let (end, is_hole) = if at < data.start { (data.start, true) } else { (data.end, false) };
        let part = &mut buffer[..usize::try_from((end - at).min(CHUNK)).expect("at most a MiB")];
        if is_hole {
            part.fill(0);
        } else {
            disk.read_at(part, at)?;
        }
        out.write_all(part)?;
        at += part.len() as u64;
    }
    Ok(())
}
