//! Opening whatever a path holds: what it is, is decided by its first bytes, never by its name.

use std::io::BufReader;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Disk;
use super::chain::Chain;
use super::format::{Format, head, probe, probe_bytes, probe_file};
use super::forward::Forward;
use super::qcow2::BackingName;
use super::raw::Raw;
use super::scratch::Scratch;
use crate::disk::{chain, compressed, qcow2, unpacked, vmdk};
use crate::util::error::{Context, Error, Result};

/// Opens an image of any format, or a device, for reading.
pub fn open(path: &Path) -> Result<Arc<dyn Disk>> {
    open_with(path, &Scratch::default())
}

/// The same, with a place for what must be decompressed.
pub fn open_with(path: &Path, scratch: &Scratch) -> Result<Arc<dyn Disk>> {
    let format = probe(path)?;
    match format {
        Format::Raw => Ok(Arc::new(open_raw(path)?)),
        Format::Device => Ok(Arc::new(Raw::open(path)?)),
        Format::Qcow2 => qcow2::open_chain(path, &mut Chain::default(), open_backing),
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

/// The files that an image is made of, its own first: extents, and its backing chain.
pub fn files(path: &Path) -> Result<Vec<PathBuf>> {
    let mut chain = Chain::default();
    match probe(path)? {
        Format::Qcow2 => drop(qcow2::open_chain(path, &mut chain, open_backing)?),
        Format::Vmdk => drop(vmdk::open_chain(path, &mut chain)?),
        Format::Raw | Format::Device | Format::Xz | Format::Zstd | Format::Gzip => {
            chain.enter(path)?;
        }
    }
    Ok(chain.into_files())
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

fn open_raw(path: &Path) -> Result<Raw> {
    let disk = Raw::open(path)?;
    check_sectors(path, &disk)?;
    Ok(disk)
}

/// Opens a file or a device once: its own bytes, and the format that they say it is of.
pub fn open_bytes(path: &Path) -> Result<(Format, Raw)> {
    let context = || format!("opening `{}`", path.display());
    if path.metadata().context(context)?.file_type().is_block_device() {
        return Ok((Format::Device, Raw::open(path)?));
    }
    let file = chain::open_regular(path)?;
    let format = probe_file(&file).context(context)?;
    Ok((format, Raw::from_file(file, false)?))
}

/// A disk is made of sectors; a file that is not is cut short, or no image at all.
pub fn check_sectors(path: &Path, disk: &Raw) -> Result<()> {
    check_size(path, disk.size())
}

fn check_size(path: &Path, size: u64) -> Result<()> {
    let path = path.display();
    if size == 0 {
        return Err(Error::input(format!("`{path}` is empty")));
    }
    if !size.is_multiple_of(512) {
        return Err(Error::input(format!(
            "`{path}` is not a disk image: {size} bytes are not a whole number of sectors"
        ))
        .hint("if it is one, it may be cut short: get it again"));
    }
    Ok(())
}

/// What was compressed must be a raw image: other formats are not published so.
fn refuse_containers(path: &Path, held: Result<Format>) -> Result<()> {
    let format = held.context(|| format!("opening `{}`", path.display()))?;
    if format == Format::Raw {
        return Ok(());
    }
    Err(Error::input(format!("`{}` holds a {} image", path.display(), format.name()))
        .hint("decompress it, and use what comes out"))
}

/// Opens the file that the qcow2 image at `image` names as its backing.
fn open_backing(image: &Path, backing: &BackingName, chain: &mut Chain) -> Result<Arc<dyn Disk>> {
    let name = backing.name.strip_prefix("file:").unwrap_or(&backing.name);
    let inside = chain::inside_folder(image, name);
    let absolute = Path::new(name).is_absolute().then(|| PathBuf::from(name));
    let Some(path) = inside.clone().or(absolute) else {
        return Err(Error::input(format!(
            "the backing file of `{}`, `{name}`, is outside its folder",
            image.display()
        ))
        .hint("set an absolute path: `qemu-img rebase -u -b /PATH/TO/BASE -F FORMAT IMAGE`"));
    };
    let context = || format!("opening the backing file of `{}`", image.display());
    let found = probe_file(&chain::open_regular(&path).context(context)?).context(context)?;
    match (backing.format.as_deref(), found) {
        // What the header calls raw is raw, whatever a guest has written into it.
        (Some("raw"), _) | (None, Format::Raw) => {
            if inside.is_none() {
                require_boot_sector(image, &path)?;
            }
            chain.enter(&path)?;
            Ok(Arc::new(open_raw(&path)?))
        }
        (Some("qcow2") | None, Format::Qcow2) => qcow2::open_chain(&path, chain, open_backing),
        (Some("vmdk") | None, Format::Vmdk) => vmdk::open_chain(&path, chain),
        (wanted, found) => Err(Error::input(format!(
            "the backing file of `{}`, `{}`, should be {} and is {}",
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
        "the backing file of `{}`, `{}`, is not a disk with a partition table",
        image.display(),
        path.display()
    ))
    .hint("move it into the same folder if it is meant to be its backing file"))
}
