//! Opening whatever a path holds: what it is, is decided by its first bytes, never by its name.

use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chain::{self, Chain};
use super::forward::Forward;
use super::qcow2::BackingName;
use super::{Disk, Raw, compressed, qcow2, unpacked, vmdk};
use crate::error::{Context, Error, Result};

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

/// Where compressed images are decompressed to, and how large they may become.
#[derive(Clone, Debug)]
pub struct Scratch {
    /// A folder with room for the image; the file in it has no name and goes with the process.
    pub folder: PathBuf,
    /// The most bytes an image may have: what a few megabytes unpack to can fill any disk.
    pub limit: u64,
}

impl Default for Scratch {
    /// `$TMPDIR`, else `/var/tmp`: `/tmp` is often memory. 64 GiB.
    fn default() -> Self {
        let large = Path::new("/var/tmp");
        let folder = match std::env::var_os("TMPDIR") {
            None if large.is_dir() => large.to_owned(),
            _ => std::env::temp_dir(),
        };
        Self { folder, limit: 64 << 30 }
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

fn probe_file(file: &File) -> Result<Format> {
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
fn head(file: &File) -> io::Result<[u8; PROBED]> {
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

/// Opens an image of any format, or a device, for reading.
pub fn open(path: &Path) -> Result<Arc<dyn Disk>> {
    open_with(path, &Scratch::default())
}

/// The same, with a place for what must be decompressed.
pub fn open_with(path: &Path, scratch: &Scratch) -> Result<Arc<dyn Disk>> {
    let format = probe(path)?;
    match format {
        Format::Raw => open_raw(path),
        Format::Device => Ok(Arc::new(Raw::open(path)?)),
        Format::Qcow2 => qcow2::open_chain(path, &mut Chain::default()),
        Format::Vmdk => vmdk::open_chain(path, &mut Chain::default()),
        Format::Xz | Format::Zstd | Format::Gzip => {
            let file = chain::open_regular(path)?;
            let disk = compressed::decompress(file, format, scratch)
                .context(|| format!("decompressing `{}`", path.display()))?;
            refuse_containers(path, probe_file(disk.file()))?;
            check_sectors(path, &disk)?;
            Ok(Arc::new(disk))
        }
    }
}

/// Opens an image that will be read once, from front to back: a compressed one that says how large
/// it is is decompressed on the way, and takes no room on any disk. Its first MiB can be read at
/// any time.
pub fn open_forward(path: &Path) -> Result<Arc<dyn Disk>> {
    let format = probe(path)?;
    if !format.is_compressed() {
        return open(path);
    }
    let file = chain::open_regular(path)?;
    let context = || format!("decompressing `{}`", path.display());
    let Some(size) = unpacked::size(&file, format).context(context)? else { return open(path) };
    check_size(path, size)?;
    let input = BufReader::with_capacity(256 * 1024, file);
    let stream = compressed::decoder(input, format).context(context)?;
    let disk = Forward::new(stream, size).context(context)?;
    refuse_containers(path, probe_bytes(disk.head()))?;
    Ok(Arc::new(disk))
}

/// Opens an image or a device for reading and writing: only raw ones can be written.
pub fn open_writable(path: &Path) -> Result<Raw> {
    let format = probe(path)?;
    if !matches!(format, Format::Raw | Format::Device) {
        return Err(Error::input(format!(
            "`{}` is a {} image, which can only be read",
            path.display(),
            format.name()
        ))
        .hint("make a raw one: `qemu-img convert -O raw`, `xz -d`, `zstd -d` or `gunzip`"));
    }
    let disk = Raw::open_writable(path)?;
    check_sectors(path, &disk)?;
    Ok(disk)
}

fn open_raw(path: &Path) -> Result<Arc<dyn Disk>> {
    let disk = Raw::open(path)?;
    check_sectors(path, &disk)?;
    Ok(Arc::new(disk))
}

/// A disk is made of sectors; a file that is not is cut short, or no image at all.
fn check_sectors(path: &Path, disk: &Raw) -> Result<()> {
    check_size(path, disk.size())
}

fn check_size(path: &Path, size: u64) -> Result<()> {
    let path = path.display();
    if size == 0 {
        return Err(Error::input(format!("`{path}` is empty")));
    }
    if !size.is_multiple_of(512) {
        return Err(Error::input(format!(
            "`{path}` is no disk image: {size} bytes are not a number of whole sectors"
        ))
        .hint("if it is one, it may be cut short: get it again"));
    }
    Ok(())
}

/// What was compressed must be a raw image: nobody ships anything else so.
fn refuse_containers(path: &Path, held: Result<Format>) -> Result<()> {
    let format = held.context(|| format!("opening `{}`", path.display()))?;
    if format == Format::Raw {
        return Ok(());
    }
    Err(Error::input(format!("`{}` holds a {} image", path.display(), format.name()))
        .hint("decompress it, and use what comes out"))
}

/// Opens the file that the qcow2 image at `image` names as its backing.
pub(super) fn open_backing(
    image: &Path,
    backing: &BackingName,
    chain: &mut Chain,
) -> Result<Arc<dyn Disk>> {
    let name = backing.name.strip_prefix("file:").unwrap_or(&backing.name);
    let inside = chain::inside_folder(image, name);
    let absolute = Path::new(name).is_absolute().then(|| PathBuf::from(name));
    let Some(path) = inside.clone().or(absolute) else {
        return Err(Error::input(format!(
            "`{}` wants to lie on `{name}`, which is outside its folder",
            image.display()
        ))
        .hint("set an absolute path: `qemu-img rebase -u -b /PATH/TO/BASE -F FORMAT IMAGE`"));
    };
    let context = || format!("opening what `{}` lies on", image.display());
    let found = probe_file(&chain::open_regular(&path).context(context)?).context(context)?;
    match (backing.format.as_deref(), found) {
        // What the header calls raw is raw, whatever a guest has written into it.
        (Some("raw"), _) | (None, Format::Raw) => {
            if inside.is_none() {
                require_boot_sector(image, &path)?;
            }
            chain.enter(&path)?;
            open_raw(&path)
        }
        (Some("qcow2") | None, Format::Qcow2) => qcow2::open_chain(&path, chain),
        (Some("vmdk") | None, Format::Vmdk) => vmdk::open_chain(&path, chain),
        (wanted, found) => Err(Error::input(format!(
            "`{}` lies on `{}`, which should be {} and is {}",
            image.display(),
            path.display(),
            wanted.unwrap_or("an image"),
            found.name()
        ))),
    }
}

/// An image that came from anywhere may name any file of its reader's: a password file
/// is not a disk, and must not be shown as one.
fn require_boot_sector(image: &Path, path: &Path) -> Result<()> {
    let head = head(&chain::open_regular(path)?)?;
    if head.ends_with(b"\x55\xaa") {
        return Ok(());
    }
    Err(Error::input(format!(
        "`{}` wants to lie on `{}`, which is no disk with a partition table",
        image.display(),
        path.display()
    ))
    .hint("move it into the same folder if it is meant to be its backing file"))
}
