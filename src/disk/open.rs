//! Opening whatever a path holds: what it is, is decided by its first bytes, never by its name.

use std::io::BufReader;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Disk;
use super::chain::{Chain, ChainLink, NamedFile};
use super::format::{Format, head, is_archive, probe, probe_bytes, probe_file};
use super::forward::Forward;
use super::qcow2::BackingName;
use super::raw::Raw;
use super::scratch::Scratch;
use crate::disk::{compressed, qcow2, regular, unpacked, vmdk};
use crate::util::error::{Context, Error, Result};

/// Opens an image of any format, or a device, for reading.
pub fn open(path: &Path) -> Result<Arc<dyn Disk>> {
    open_over(path, &[])
}

/// The same, with backing files and parents that are not where images may have them by themselves:
/// the one whose file name an image's own name for it ends in is the one.
pub fn open_over(path: &Path, backing: &[PathBuf]) -> Result<Arc<dyn Disk>> {
    open_chain(path, &mut Chain::new(backing), &Scratch::default())
}

/// Opens an image of any format for reading, with a place for what must be decompressed.
pub fn open_with(path: &Path, scratch: &Scratch) -> Result<Arc<dyn Disk>> {
    open_chain(path, &mut Chain::new(&[]), scratch)
}

fn open_chain(path: &Path, chain: &mut Chain<'_>, scratch: &Scratch) -> Result<Arc<dyn Disk>> {
    let format = probe(path)?;
    match format {
        Format::Raw => {
            chain.enter(path, format)?;
            Ok(Arc::new(open_raw(path)?))
        }
        Format::Device => {
            chain.enter(path, format)?;
            Ok(Arc::new(Raw::open(path)?))
        }
        Format::Qcow2 => qcow2::open_chain(path, regular::open_regular(path)?, chain, open_backing),
        Format::Vmdk => vmdk::open_chain(path, regular::open_regular(path)?, chain),
        Format::Xz | Format::Zstd | Format::Gzip => {
            let file = regular::open_regular(path)?;
            let disk = compressed::decompress(file, format, scratch)
                .context(|| format!("decompressing `{}`", path.display()))?;
            refuse_containers(path, probe_file(disk.file()))?;
            refuse_archive(path, &head(disk.file())?)?;
            check_sectors(path, &disk)?;
            Ok(Arc::new(disk))
        }
    }
}

/// The images that make up an image, itself first and its base last; a compressed one is none.
pub fn links(path: &Path, backing: &[PathBuf]) -> Result<Vec<ChainLink>> {
    let mut chain = Chain::new(backing);
    let format = probe(path)?;
    if format.is_compressed() {
        chain.enter(path, format)?;
    } else {
        drop(open_chain(path, &mut chain, &Scratch::default())?);
    }
    Ok(chain.into_links())
}

/// The files that an image is made of, its own first: extents, and its backing chain.
pub fn files(path: &Path, backing: &[PathBuf]) -> Result<Vec<PathBuf>> {
    Ok(links(path, backing)?.into_iter().flat_map(ChainLink::files).collect())
}

/// Opens an image that will be read once, from front to back: a compressed one that says how large
/// it is is decompressed on the way, and takes no room on any disk. Its first MiB can be read at
/// any time.
pub fn open_forward(path: &Path) -> Result<Arc<dyn Disk>> {
    let format = probe(path)?;
    if !format.is_compressed() {
        return open(path);
    }
    let file = regular::open_regular(path)?;
    let context = || format!("decompressing `{}`", path.display());
    let Some(size) = unpacked::size(&file, format).context(context)? else { return open(path) };
    check_size(path, size)?;
    let input = BufReader::with_capacity(256 * 1024, file);
    let stream = compressed::decoder(input, format).context(context)?;
    let disk = Forward::new(stream, size).context(context)?;
    refuse_containers(path, probe_bytes(disk.head()))?;
    refuse_archive(path, disk.head())?;
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
    refuse_archive(path, &head(disk.file())?)?;
    let mut end = [0; FIXED_VHD.len()];
    disk.read_at(&mut end, disk.size() - 512)?;
    if end == *FIXED_VHD {
        return Err(Error::input(format!("`{}` is a VHD, which cannot be read", path.display()))
            .hint("make an image of it first: `qemu-img convert -f vpc -O raw OLD NEW`"));
    }
    Ok(disk)
}

/// How the last sector of a VHD of fixed size begins; what is before it is the disk.
const FIXED_VHD: &[u8; 8] = b"conectix";

/// A tar archive is made of sectors, too.
fn refuse_archive(path: &Path, head: &[u8]) -> Result<()> {
    if !is_archive(head) {
        return Ok(());
    }
    let path = path.display();
    Err(Error::input(format!("`{path}` is a tar archive, not an image"))
        .hint("unpack it, and use what comes out: `tar -xf FILE`"))
}

/// Opens a file or a device once: its own bytes, and the format that they say it is of.
pub fn open_bytes(path: &Path) -> Result<(Format, Raw)> {
    let context = || format!("opening `{}`", path.display());
    if path.metadata().context(context)?.file_type().is_block_device() {
        return Ok((Format::Device, Raw::open(path)?));
    }
    let file = regular::open_regular(path)?;
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
fn open_backing(
    image: &Path,
    backing: &BackingName,
    chain: &mut Chain<'_>,
) -> Result<Arc<dyn Disk>> {
    let name = backing.name.strip_prefix("file:").unwrap_or(&backing.name);
    let context = || format!("opening the backing file of `{}`", image.display());
    let NamedFile { path, file } = chain.find_below(image, name, "the backing file")?;
    let found = probe_file(&file).context(context)?;
    match (backing.format.as_deref(), found) {
        // What the header calls raw is raw, whatever a guest has written into it.
        (Some("raw"), _) | (None, Format::Raw) => {
            chain.enter(&path, Format::Raw)?;
            let disk = Raw::from_file(file, false).context(context)?.named(&path);
            check_sectors(&path, &disk)?;
            Ok(Arc::new(disk))
        }
        (Some("qcow2") | None, Format::Qcow2) => {
            qcow2::open_chain(&path, file, chain, open_backing)
        }
        (Some("vmdk") | None, Format::Vmdk) => vmdk::open_chain(&path, file, chain),
        (wanted, found) => Err(Error::input(format!(
            "the backing file of `{}`, `{}`, should be {} and is {}",
            image.display(),
            path.display(),
            wanted.unwrap_or("an image"),
            found.name()
        ))),
    }
}
