//! What an image is: decided by its first bytes, never by its name.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;

use crate::disk::{regular, vmdk};
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

/// How a disk's first sector ends, when anything boots from it or a partition table is in it.
const BOOT_SIGNATURE: &[u8] = b"\x55\xaa";

/// Formats we know and do not read: their first bytes, their names, and what makes an image of them.
const FOREIGN: [(usize, &[u8], &str, &str); 12] = [
    (0, b"vhdxfile", "VHDX", "qemu-img convert -f vhdx -O raw OLD NEW"),
    (0, b"conectix", "VHD", "qemu-img convert -f vpc -O raw OLD NEW"),
    (0, b"COWD", "VMware ESX 3 sparse", "qemu-img convert -f vmdk -O raw OLD NEW"),
    (0, b"QED\0", "QED", "qemu-img convert -f qed -O raw OLD NEW"),
    (0, b"WithoutFreeSpace", "Parallels", "qemu-img convert -f parallels -O raw OLD NEW"),
    (0, b"WithouFreSpacExt", "Parallels", "qemu-img convert -f parallels -O raw OLD NEW"),
    (0x40, b"\x7f\x10\xda\xbe", "VirtualBox VDI", "qemu-img convert -f vdi -O raw OLD NEW"),
    (0, b"BZh", "bzip2", "bunzip2 FILE"),
    (0, b"\x04\x22\x4d\x18", "lz4", "lz4 -d FILE"),
    (0, b"\x5d\0\0", "lzma", "xz --format=lzma -d FILE"),
    (0, b"PK\x03\x04", "zip", "unzip FILE"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z", "7z x FILE"),
];

/// Says what a path holds. Anything without a known beginning is raw.
pub fn probe(path: &Path) -> Result<Format> {
    let context = || format!("opening `{}`", path.display());
    // A pipe must not be opened: that waits for somebody to write into it.
    if path.metadata().context(context)?.file_type().is_block_device() {
        return Ok(Format::Device);
    }
    probe_file(&regular::open_regular(path)?).context(context)
}

pub(super) fn probe_file(file: &File) -> Result<Format> {
    probe_bytes(&head(file)?)
}

/// Says what a file is that begins with these bytes: all of it, or the first 512.
pub(crate) fn probe_bytes(bytes: &[u8]) -> Result<Format> {
    let mut head = [0; PROBED];
    let known = bytes.len().min(PROBED);
    head[..known].copy_from_slice(&bytes[..known]);
    let foreign = |(at, magic, ..): &&(usize, &[u8], _, _)| head[*at..].starts_with(magic);
    if let Some((_, _, name, command)) = FOREIGN.iter().find(foreign) {
        return Err(Error::input(format!("{name} files cannot be read"))
            .hint(format!("make an image of it first: `{command}`")));
    }
    let format = match head {
        _ if head.starts_with(b"QFI\xfb") => Format::Qcow2,
        _ if vmdk::is_vmdk(&head) => Format::Vmdk,
        _ if head.starts_with(b"\xfd7zXZ\0") => Format::Xz,
        _ if head.starts_with(b"\x28\xb5\x2f\xfd") || is_skippable_frame(&head) => Format::Zstd,
        _ if head.starts_with(b"\x1f\x8b\x08") => Format::Gzip,
        _ => Format::Raw,
    };
    // Whoever was written by somebody who means to be read in two ways is read in none.
    let is_container = matches!(format, Format::Qcow2 | Format::Vmdk);
    if is_container && head.ends_with(BOOT_SIGNATURE) {
        let name = format.name();
        return Err(Error::input(format!("it begins like a {name} image and like a raw disk")));
    }
    if format == Format::Raw && vmdk::is_vmdk_to_qemu(&head) {
        return Err(Error::input("it begins like a VMDK, but not as VMware writes one"));
    }
    Ok(format)
}

/// Whether a file that begins so is a tar archive, of POSIX or of GNU.
pub(crate) fn is_archive(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar")
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
