//! The reader: a descriptor, the extents it lists, and the parent below.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::SECTOR;
use super::descriptor::{Descriptor, ExtentKind};
use super::magic::{FIRST_LINE, is_descriptor, is_vmdk};
use super::sparse::Sparse;
use crate::disk::Disk;
use crate::disk::chain::{self, Chain, ExtentList, ExtentPlace, ExtentSpan, NamedFile};
use crate::disk::format::Format;
use crate::disk::layered::{ByteSource, Layered, LayeredDisk, damaged};
use crate::disk::vmdk::descriptor;
use crate::util::error::{Context, Error, Result};

/// The longest descriptor file in bytes: a line for every 2 GB.
const LONGEST_DESCRIPTOR: u64 = 1 << 20;

/// A VMDK open for reading.
struct VmdkImage {
    size: u64,
    /// In the order of the disk, without gaps.
    extents: Vec<ExtentPart>,
    parent: Option<Arc<dyn Disk>>,
}

/// An extent and where on the disk it starts and ends, in bytes.
struct ExtentPart {
    start: u64,
    end: u64,
    content: ExtentContent,
}

enum ExtentContent {
    Sparse(Sparse),
    /// Bytes of a file, from an offset.
    Flat(File, u64),
    Zeros,
}

/// Opens a VMDK, whose file is `file`, with all its parents.
///
/// Extents must be in the image's own folder. A parent must be a VMDK with the content that the child
/// was made on.
pub(in crate::disk) fn open_chain(
    path: &Path,
    file: File,
    chain: &mut Chain<'_>,
) -> Result<Arc<dyn Disk>> {
    Ok(open_image(path, file, chain)?.1)
}

fn open_image(
    path: &Path,
    file: File,
    chain: &mut Chain<'_>,
) -> Result<(Descriptor, Arc<dyn Disk>)> {
    chain.enter(path, Format::Vmdk)?;
    let context = || format!("`{}` cannot be read as VMDK", path.display());
    let (descriptor, extents, parts) = open_extents(path, file).context(context)?;
    let size = extents.last().map_or(0, |part| part.end);
    if let Some(extents) = parts {
        let Descriptor { cid, parent, .. } = descriptor;
        chain.set_parts(ExtentList { cid, parent, extents });
    }
    let parent = open_parent(path, &descriptor, chain)?;
    Ok((descriptor, Arc::new(LayeredDisk(VmdkImage { size, extents, parent }))))
}

/// Opens what the disk is made of. The files that a descriptor lists come as a list, too.
fn open_extents(
    path: &Path,
    file: File,
) -> Result<(Descriptor, Vec<ExtentPart>, Option<Vec<ExtentSpan>>)> {
    let length = file.metadata()?.len();
    let mut head = vec![0; FIRST_LINE.len().min(usize::try_from(length).unwrap_or(usize::MAX))];
    file.read_exact_at(&mut head, 0)?;
    if !is_descriptor(&head) {
        let sparse = Sparse::open(file)?;
        let text = sparse.descriptor()?.ok_or_else(|| {
            Error::input("it is one part of a disk in several files")
                .hint("open the small text file that lists the parts")
        })?;
        let descriptor = Descriptor::parse_embedded(&text)?;
        let end = sparse.capacity() * SECTOR;
        // QEMU then looks for extents in the descriptor.
        if end == 0 {
            return Err(Error::input("its header says that it has no sectors"));
        }
        let content = ExtentContent::Sparse(sparse);
        return Ok((descriptor, vec![ExtentPart { start: 0, end, content }], None));
    }

    if length > LONGEST_DESCRIPTOR {
        return Err(Error::input("its descriptor is too long"));
    }
    let mut text = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut text, 0)?;
    let descriptor = Descriptor::parse(&text)?;
    let (mut extents, mut parts) = (Vec::new(), Vec::new());
    let mut start = 0_u64;
    for extent in &descriptor.extents {
        let end = extent.sectors.checked_mul(SECTOR).and_then(|length| start.checked_add(length));
        let end = end.filter(|end| i64::try_from(*end).is_ok());
        let end = end.ok_or_else(|| Error::input("its extents are larger than any disk"))?;
        let (content, place) = open_extent(path, extent, end - start)?;
        extents.push(ExtentPart { start, end, content });
        parts.push(ExtentSpan { sectors: extent.sectors, content: place });
        start = end;
    }
    if extents.is_empty() {
        return Err(Error::input("its descriptor lists no extent"));
    }
    Ok((descriptor, extents, Some(parts)))
}

/// Opens an extent of `length` bytes.
fn open_extent(
    path: &Path,
    extent: &descriptor::Extent,
    length: u64,
) -> Result<(ExtentContent, ExtentPlace)> {
    let name = &extent.file_name;
    match extent.kind {
        ExtentKind::Zero => Ok((ExtentContent::Zeros, ExtentPlace::Zeros)),
        ExtentKind::Sparse => {
            let NamedFile { path, file } = chain::find_extent(path, name)?;
            let sparse = Sparse::open(file).context(|| format!("reading extent `{name}`"))?;
            if sparse.capacity() * SECTOR < length {
                return Err(Error::input(format!("its extent `{name}` is too small")));
            }
            Ok((ExtentContent::Sparse(sparse), ExtentPlace::Sparse(path)))
        }
        ExtentKind::Flat => {
            let NamedFile { path, file } = chain::find_extent(path, name)?;
            let start = extent.offset.checked_mul(SECTOR);
            let end = start.and_then(|start| start.checked_add(length));
            match (start, end) {
                (Some(start), Some(end)) if end <= file.metadata()?.len() => {
                    Ok((ExtentContent::Flat(file, start), ExtentPlace::Flat(path, extent.offset)))
                }
                _ => Err(Error::input(format!("its extent `{name}` is cut short"))),
            }
        }
    }
}

fn open_parent(
    path: &Path,
    descriptor: &Descriptor,
    chain: &mut Chain<'_>,
) -> Result<Option<Arc<dyn Disk>>> {
    let Some(wanted) = descriptor.parent else { return Ok(None) };
    let child = path.display();
    let hint = descriptor.hint.as_deref().filter(|hint| !hint.is_empty()).ok_or_else(|| {
        Error::input(format!("`{child}` has a parent, but does not say which file it is"))
    })?;
    let context = || format!("opening the parent of `{child}`");
    let NamedFile { path: parent_path, file } = chain.find_below(path, hint, "the parent")?;
    if !begins_as_vmdk(&file).context(context)? {
        let parent = parent_path.display();
        return Err(Error::input(format!("`{parent}`, the parent of `{child}`, is not a VMDK")));
    }
    let (parent, disk) = open_image(&parent_path, file, chain).context(context)?;
    if parent.cid != wanted {
        return Err(Error::input(format!(
            "the parent of `{child}` has changed since the child was made: its content is {:08x}, \
             not {wanted:08x}",
            parent.cid
        ))
        .hint(format!("make the child again on `{}`", parent_path.display())));
    }
    Ok(Some(disk))
}

fn begins_as_vmdk(file: &File) -> Result<bool> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut head = vec![0; length.min(FIRST_LINE.len())];
    file.read_exact_at(&mut head, 0)?;
    Ok(is_vmdk(&head))
}

impl VmdkImage {
    fn part(&self, offset: u64) -> io::Result<&ExtentPart> {
        let index = self.extents.partition_point(|part| part.end <= offset);
        self.extents.get(index).ok_or_else(|| damaged("access past the end of the disk"))
    }
}

impl Layered for VmdkImage {
    fn size(&self) -> u64 {
        self.size
    }

    fn source(&self, offset: u64, _wanted: u64) -> io::Result<(ByteSource, u64)> {
        let part = self.part(offset)?;
        let (source, length) = match &part.content {
            ExtentContent::Sparse(sparse) => sparse.source(offset - part.start)?,
            ExtentContent::Flat(_, start) => {
                (ByteSource::Here(start + offset - part.start), u64::MAX)
            }
            ExtentContent::Zeros => (ByteSource::Zeros, u64::MAX),
        };
        Ok((source, length.min(part.end - offset)))
    }

    fn read_here(&self, buffer: &mut [u8], place: u64, offset: u64) -> io::Result<()> {
        let part = self.part(offset)?;
        match &part.content {
            ExtentContent::Sparse(sparse) => sparse.read(buffer, place, offset - part.start),
            ExtentContent::Flat(file, _) => file.read_exact_at(buffer, place),
            ExtentContent::Zeros => Err(damaged("an extent of zeros has no bytes")),
        }
    }

    fn below(&self) -> Option<&Arc<dyn Disk>> {
        self.parent.as_ref()
    }
}
