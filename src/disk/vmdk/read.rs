//! The reader: a descriptor, the extents it lists, and the parent below.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SECTOR;
use super::descriptor::Descriptor;
use super::sparse::Sparse;
use crate::disk::Disk;
use crate::disk::chain::{self, Chain};
use crate::disk::layered::{Layered, LayeredDisk, Source, damaged};
use crate::disk::vmdk::descriptor;
use crate::util::error::{Context, Error, Result};

/// The longest descriptor file in bytes: a line for every 2 GB.
const LONGEST_DESCRIPTOR: u64 = 1 << 20;
/// How every descriptor file begins, in any case of letters.
const FIRST_LINE: &[u8] = b"# disk descriptorfile";

/// A VMDK open for reading.
struct Image {
    size: u64,
    /// In the order of the disk, without gaps.
    extents: Vec<Part>,
    parent: Option<Arc<dyn Disk>>,
}

/// An extent and where on the disk it starts and ends, in bytes.
struct Part {
    start: u64,
    end: u64,
    content: Content,
}

enum Content {
    Sparse(Sparse),
    /// Bytes of a file, from an offset.
    Flat(File, u64),
    Zeros,
}

/// Whether a file with these first bytes is a VMDK.
pub(in crate::disk) fn is_vmdk(head: &[u8]) -> bool {
    head.starts_with(b"KDMV") || is_descriptor(head)
}

fn is_descriptor(head: &[u8]) -> bool {
    head.get(..FIRST_LINE.len()).is_some_and(|line| line.eq_ignore_ascii_case(FIRST_LINE))
}

/// Opens a VMDK with all its parents.
///
/// Extents must be in the image's own folder. A parent may be anywhere, but must be a VMDK with
/// the content that the child was made on.
pub(in crate::disk) fn open_chain(path: &Path, chain: &mut Chain) -> Result<Arc<dyn Disk>> {
    Ok(open_image(path, chain)?.1)
}

fn open_image(path: &Path, chain: &mut Chain) -> Result<(Descriptor, Arc<dyn Disk>)> {
    chain.enter(path)?;
    let context = || format!("`{}` cannot be read as VMDK", path.display());
    let (descriptor, extents) = open_extents(path).context(context)?;
    let size = extents.last().map_or(0, |part| part.end);
    for extent in descriptor.extents.iter().filter(|it| it.kind != "ZERO") {
        if let Some(file) = chain::inside_folder(path, &extent.file_name) {
            chain.add_extent(file);
        }
    }
    let parent = open_parent(path, &descriptor, chain)?;
    Ok((descriptor, Arc::new(LayeredDisk(Image { size, extents, parent }))))
}

fn open_extents(path: &Path) -> Result<(Descriptor, Vec<Part>)> {
    let file = chain::open_regular(path)?;
    let length = file.metadata()?.len();
    let mut head = vec![0; FIRST_LINE.len().min(usize::try_from(length).unwrap_or(usize::MAX))];
    file.read_exact_at(&mut head, 0)?;
    if !is_descriptor(&head) {
        let sparse = Sparse::open(file)?;
        let text = sparse.descriptor()?.ok_or_else(|| {
            Error::input("it is one part of a disk in several files")
                .hint("open the small text file that lists the parts")
        })?;
        let descriptor = Descriptor::parse(&text)?;
        let end = sparse.capacity() * SECTOR;
        return Ok((descriptor, vec![Part { start: 0, end, content: Content::Sparse(sparse) }]));
    }

    if length > LONGEST_DESCRIPTOR {
        return Err(Error::input("its descriptor is too long"));
    }
    let mut text = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut text, 0)?;
    let descriptor = Descriptor::parse(&text)?;
    let mut extents = Vec::new();
    let mut start = 0_u64;
    for extent in &descriptor.extents {
        let end = extent.sectors.checked_mul(SECTOR).and_then(|length| start.checked_add(length));
        let end = end.filter(|end| i64::try_from(*end).is_ok());
        let end = end.ok_or_else(|| Error::input("its extents are larger than any disk"))?;
        let content = open_extent(path, extent, end - start)?;
        extents.push(Part { start, end, content });
        start = end;
    }
    Ok((descriptor, extents))
}

fn open_extent(path: &Path, extent: &descriptor::Extent, length: u64) -> Result<Content> {
    if extent.kind == "ZERO" {
        return Ok(Content::Zeros);
    }
    let name = &extent.file_name;
    let open = || {
        let path = chain::inside_folder(path, name)
            .ok_or_else(|| Error::input(format!("its extent `{name}` is outside its folder")))?;
        chain::open_regular(&path)
    };
    match extent.kind.as_str() {
        "SPARSE" => {
            let sparse = Sparse::open(open()?).context(|| format!("reading extent `{name}`"))?;
            if sparse.capacity() * SECTOR < length {
                return Err(Error::input(format!("its extent `{name}` is too small")));
            }
            Ok(Content::Sparse(sparse))
        }
        "FLAT" => {
            let file = open()?;
            let start = extent.offset.checked_mul(SECTOR);
            let end = start.and_then(|start| start.checked_add(length));
            match (start, end) {
                (Some(start), Some(end)) if end <= file.metadata()?.len() => {
                    Ok(Content::Flat(file, start))
                }
                _ => Err(Error::input(format!("its extent `{name}` is cut short"))),
            }
        }
        kind => Err(Error::input(format!("extents of kind `{kind}` are not known"))
            .hint("convert it: `qemu-img convert -O vmdk OLD NEW`")),
    }
}

fn open_parent(
    path: &Path,
    descriptor: &Descriptor,
    chain: &mut Chain,
) -> Result<Option<Arc<dyn Disk>>> {
    let Some(wanted) = descriptor.parent else { return Ok(None) };
    let child = path.display();
    let hint = descriptor.hint.as_deref().filter(|hint| !hint.is_empty()).ok_or_else(|| {
        Error::input(format!("`{child}` has a parent, but does not say which file it is"))
    })?;
    // Relative to the child's folder; an absolute path replaces all of it.
    let parent_path: PathBuf = path.parent().unwrap_or(Path::new("")).join(hint);
    let context = || format!("opening the parent of `{child}`");
    if !begins_as_vmdk(&parent_path).context(context)? {
        let parent = parent_path.display();
        return Err(Error::input(format!("`{parent}`, the parent of `{child}`, is not a VMDK")));
    }
    let (parent, disk) = open_image(&parent_path, chain).context(context)?;
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

fn begins_as_vmdk(path: &Path) -> Result<bool> {
    let file = chain::open_regular(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut head = vec![0; length.min(FIRST_LINE.len())];
    file.read_exact_at(&mut head, 0)?;
    Ok(is_vmdk(&head))
}

impl Image {
    fn part(&self, offset: u64) -> io::Result<&Part> {
        let index = self.extents.partition_point(|part| part.end <= offset);
        self.extents.get(index).ok_or_else(|| damaged("access past the end of the disk"))
    }
}

impl Layered for Image {
    fn size(&self) -> u64 {
        self.size
    }

    fn source(&self, offset: u64, _wanted: u64) -> io::Result<(Source, u64)> {
        let part = self.part(offset)?;
        let (source, length) = match &part.content {
            Content::Sparse(sparse) => sparse.source(offset - part.start)?,
            Content::Flat(_, start) => (Source::Here(start + offset - part.start), u64::MAX),
            Content::Zeros => (Source::Zeros, u64::MAX),
        };
        Ok((source, length.min(part.end - offset)))
    }

    fn read_here(&self, buffer: &mut [u8], place: u64, offset: u64) -> io::Result<()> {
        let part = self.part(offset)?;
        match &part.content {
            Content::Sparse(sparse) => sparse.read(buffer, place, offset - part.start),
            Content::Flat(file, _) => file.read_exact_at(buffer, place),
            Content::Zeros => Err(damaged("an extent of zeros has no bytes")),
        }
    }

    fn below(&self) -> Option<&Arc<dyn Disk>> {
        self.parent.as_ref()
    }
}
