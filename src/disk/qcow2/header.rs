//! The header, as far as it decides whether an image is read at all.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::BACKING_FORMAT;
use crate::util::error::{Error, Result};

/// The longest L1 table QEMU opens, in bytes.
const LARGEST_L1: u64 = 32 << 20;
/// Where an entry of a table says that another table or a cluster is.
pub(super) const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// Incompatible features.
const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

/// The name an image gives of the one below.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::disk) struct BackingName {
    pub(in crate::disk) name: String,
    /// QEMU's word for its format; old images do not say.
    pub(in crate::disk) format: Option<String>,
}

/// How clusters are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Deflate,
    Zstd,
}

/// What is in a header, and the table that it leads to.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) size: u64,
    pub(super) cluster_bits: u32,
    pub(super) compression: Compression,
    /// Whether clusters are divided into subclusters.
    is_extended: bool,
    /// The entries of the L1 table, as they are in the file.
    pub(super) l1: Vec<u64>,
    pub(super) backing: Option<BackingName>,
}

impl Header {
    /// Reads the header and checks that the tables it speaks of are in the file.
    pub(super) fn read(file: &File) -> Result<Self> {
        let length = file.metadata()?.len();
        let mut bytes = vec![0; usize::try_from(length.min(4096)).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, 0)?;
        let u32_at = |at: usize| field(&bytes, at).map(u32::from_be_bytes);
        let u64_at = |at: usize| field(&bytes, at).map(u64::from_be_bytes);

        let version = u32_at(4)?;
        if !(2..=3).contains(&version) {
            return Err(Error::input(format!("version {version} of qcow2 is not known"))
                .hint("convert it: `qemu-img convert -O qcow2 OLD NEW`"));
        }
        if u32_at(32)? != 0 {
            return Err(Error::input("the image is encrypted")
                .hint("decrypt it: `qemu-img convert -O qcow2 …`"));
        }
        let features = if version == 3 { u64_at(72)? } else { 0 };
        check_features(features)?;
        let compression = match bytes.get(104).filter(|_| features & COMPRESSION_TYPE != 0) {
            None | Some(0) => Compression::Deflate,
            Some(1) => Compression::Zstd,
            Some(other) => {
                return Err(Error::input(format!("compression method {other} is not known")));
            }
        };
        let is_extended = features & EXTENDED_L2 != 0;
        let cluster_bits = u32_at(20)?;
        let least = if is_extended { 14 } else { 9 };
        if !(least..=21).contains(&cluster_bits) {
            return Err(Error::input(format!("clusters of 2^{cluster_bits} bytes")));
        }
        let size = u64_at(24)?;
        if !size.is_multiple_of(512) || size > i64::MAX as u64 {
            return Err(Error::input(format!("a disk of {size} bytes")));
        }
        let (l1_entries, l1_offset) = (u64::from(u32_at(36)?), u64_at(40)?);
        let l1 = read_l1(file, length, cluster_bits, l1_offset, l1_entries)?;

        let backing = read_backing_name(file, length, u64_at(8)?, u32_at(16)?)?;
        let format = if version == 3 { backing_format(file, u32_at(100)?)? } else { None };
        let backing = backing.map(|name| BackingName { name, format });
        let header = Self { version, size, cluster_bits, compression, is_extended, l1, backing };
        if l1_entries < size.div_ceil(header.cluster_size() * header.table_entries()) {
            return Err(Error::input("its L1 table is too short for the disk"));
        }
        Ok(header)
    }

    pub(super) fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// 64-bit words in an entry of an L2 table.
    pub(super) fn words_of_entry(&self) -> u64 {
        if self.is_extended { 2 } else { 1 }
    }

    /// Entries of an L2 table, which fills a cluster.
    pub(super) fn table_entries(&self) -> u64 {
        self.cluster_size() / 8 / self.words_of_entry()
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    let field = bytes.get(at..at + N).and_then(|field| field.try_into().ok());
    field.ok_or_else(|| Error::input("the image is cut short"))
}

fn check_features(features: u64) -> Result<()> {
    let convert = "convert it: `qemu-img convert -O qcow2 OLD NEW`";
    let (refusal, hint) = if features & CORRUPT != 0 {
        ("QEMU has marked the image as corrupt", "repair it: `qemu-img check -r all IMAGE`")
    } else if features & EXTERNAL_DATA != 0 {
        ("its data is in another file", convert)
    } else if features & !(DIRTY | COMPRESSION_TYPE | EXTENDED_L2) != 0 {
        ("it has features that are not known", convert)
    } else {
        return Ok(());
    };
    Err(Error::input(refusal).hint(hint))
}

/// Reads the L1 table, and checks that it and all L2 tables are in the file: what is missing would
/// else read as zeros.
fn read_l1(
    file: &File,
    length: u64,
    cluster_bits: u32,
    offset: u64,
    entries: u64,
) -> Result<Vec<u64>> {
    let bytes = entries * 8;
    if bytes > LARGEST_L1 {
        return Err(Error::input("its L1 table is larger than QEMU allows"));
    }
    let cut_short = || Error::input("the image is cut short").hint("get it again");
    if offset.checked_add(bytes).is_none_or(|end| end > length) {
        return Err(cut_short());
    }
    let mut table = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
    file.read_exact_at(&mut table, offset)?;
    let (entries, _) = table.as_chunks::<8>();
    let entries: Vec<u64> = entries.iter().map(|entry| u64::from_be_bytes(*entry)).collect();
    for entry in &entries {
        let l2 = entry & OFFSET;
        if l2 != 0 && l2 + (1 << cluster_bits) > length {
            return Err(cut_short());
        }
    }
    Ok(entries)
}

fn read_backing_name(file: &File, length: u64, offset: u64, size: u32) -> Result<Option<String>> {
    if offset == 0 || size == 0 {
        return Ok(None);
    }
    if size > 1023 || offset.checked_add(size.into()).is_none_or(|end| end > length) {
        return Err(Error::input("the name of its backing file is damaged"));
    }
    let mut name = vec![0; size as usize];
    file.read_exact_at(&mut name, offset)?;
    let name = String::from_utf8(name);
    name.map(Some).map_err(|_| Error::input("the name of its backing file is not UTF-8"))
}

/// Looks through the header extensions for the backing file's format.
fn backing_format(file: &File, header_length: u32) -> Result<Option<String>> {
    let mut at = u64::from(header_length);
    // The extensions lie in the first cluster, which has 2 MiB at most; few are ever there.
    for _ in 0..64 {
        let mut extension = [0; 8];
        if file.read_exact_at(&mut extension, at).is_err() {
            return Ok(None);
        }
        let kind = u32::from_be_bytes(field(&extension, 0)?);
        let length = u32::from_be_bytes(field(&extension, 4)?);
        if kind == 0 {
            return Ok(None);
        }
        if kind == BACKING_FORMAT && length <= 16 {
            let mut format = vec![0; length as usize];
            file.read_exact_at(&mut format, at + 8)?;
            return Ok(String::from_utf8(format).ok());
        }
        at += 8 + u64::from(length).next_multiple_of(8);
    }
    Ok(None)
}
