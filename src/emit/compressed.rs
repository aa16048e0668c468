//! `.img.xz` and `.img.zst`: the node's disk in pieces, each packed on its own, on all processors.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

use super::{PreparedBase, seekable, xz};
use crate::disk::{Delta, Disk, Overlay};
use crate::error::Result;

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

pub(super) fn write(
    path: &Path,
    prepared: &PreparedBase,
    delta: &Delta,
    codec: Codec,
) -> Result<()> {
    let disk = Overlay::with_delta(prepared.disk.clone(), delta.clone());
    let mut out = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
    match codec {
        Codec::Xz => xz::write(&mut out, &disk)?,
        Codec::Zstd => seekable::write(&mut out, &disk)?,
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(())
}

/// A disk in pieces of equal length, but for the last.
pub(super) struct Pieces<'a> {
    pub(super) disk: &'a dyn Disk,
    /// Bytes.
    pub(super) length: u64,
}

impl Pieces<'_> {
    pub(super) fn count(&self) -> usize {
        usize::try_from(self.disk.size().div_ceil(self.length)).expect("pieces are large")
    }

    /// The bytes of a piece; `None` for a whole piece of zeros that need not be read to be known:
    /// most of a disk is that.
    pub(super) fn read(&self, number: usize) -> Result<Option<Vec<u8>>> {
        let start = number as u64 * self.length;
        let length = self.length.min(self.disk.size() - start);
        let is_hole = self.disk.next_data(start)?.is_none_or(|it| it.start >= start + length);
        if is_hole && length == self.length {
            return Ok(None);
        }
        let mut bytes = self.zeros();
        bytes.truncate(usize::try_from(length).expect("at most a piece"));
        if !is_hole {
            self.disk.read_at(&mut bytes, start)?;
        }
        Ok(Some(bytes))
    }

    /// What a piece that is not read holds.
    pub(super) fn zeros(&self) -> Vec<u8> {
        vec![0; usize::try_from(self.length).expect("pieces fit in memory")]
    }
}
