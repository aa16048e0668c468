//! What an image is: decided by its first bytes, never by its name.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;

use crate::disk::{chain, vmdk};
use crate::util::error::{Context, Error, Result};

/// What an image's bytes say it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The disk's bytes and nothing else.
    Raw,
    /// A block device.
    Device,
    /// QEMU's.
    Qcow2,
    /// VMware's: one file, or the descriptor of several.
    Vmdk,
    /// Something compressed with xz.
    Xz,
    /// Something compressed with zstd.
    Zstd,
    /// Something compressed with gzip.
    Gzip,
}

impl Format {
    /// The name users know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Device => "device",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Xz => "xz",
            Self::Zstd => "zst",
            Self::Gzip => "gz",
        }
    }

    /// Whether it must be decompressed before it is a disk.
    pub fn is_compressed(self) -> bool {
        matches!(self, Self::Xz | Self::Zstd | Self::Gzip)
    }
}

/// Bytes from the start of a file that tell formats apart.
const PROBED: usize = 512;

/// Formats we know and do not read: their first bytes, and their names.
const FOREIGN: [(usize, &[u8], &str); 8] = [
    (0, b"vhdxfile", "VHDX"),
    (0, b"conectix", "VHD"),
    (0, b"COWD", "VMware ESX 3 sparse"),
    (0, b"QED\0", "QED"),
    (0x40, b"\x7f\x10\xda\xbe", "VirtualBox VDI"),
    (0, b"BZh", "bzip2"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
];

/// Says what a path holds. Anything without a known beginning is raw.
pub fn probe(path: &Path) -> Result<Format> {
    let context = || format!("opening `{}`", path.display());
    // A pipe must not be opened: that waits for somebody to write into it.
    if path.metadata().context(context)?.file_type().is_block_device() {
        return Ok(Format::Device);
    }
    probe_file(&chain::open_regular(path)?).context(context)
}

pub(super) fn probe_file(file: &File) -> Result<Format> {
    probe_bytes(&head(file)?)
}

/// Says what a file is that begins with these bytes: all of it, or the first 512.
pub(crate) fn probe_bytes(bytes: &[u8]) -> Result<Format> {
    let mut head = [0; PROBED];
    let known = bytes.len().min(PROBED);
    head[..known].copy_from_slice(&bytes[..known]);
    if let Some((.., name)) = FOREIGN.iter().find(|(at, magic, _)| head[*at..].starts_with(magic)) {
        return Err(Error::input(format!("{name} files cannot be read"))
            .hint("make it a raw or qcow2 image first: `qemu-img convert`, `unzip` or the like"));
    }
    Ok(match head {
        _ if head.starts_with(b"QFI\xfb") => Format::Qcow2,
        _ if vmdk::is_vmdk(&head) => Format::Vmdk,
        _ if head.starts_with(b"\xfd7zXZ\0") => Format::Xz,
        _ if head.starts_with(b"\x28\xb5\x2f\xfd") || is_skippable_frame(&head) => Format::Zstd,
        _ if head.starts_with(b"\x1f\x8b\x08") => Format::Gzip,
        _ => Format::Raw,
    })
}

/// The first bytes of a file, with zeros where it is shorter.
pub(super) fn head(file: &File) -> io::Result<[u8; PROBED]> {
    let mut head = [0; PROBED];
    let mut filled = 0;
    while filled < PROBED {
        match file.read_at(&mut head[filled..], filled as u64) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(head)
}

/// zstd files may begin with a frame of other data (RFC 8878, section 3.1.2).
fn is_skippable_frame(head: &[u8]) -> bool {
    (0x50..=0x5f).contains(&head[0]) && head[1..4] == *b"\x2a\x4d\x18"
}
