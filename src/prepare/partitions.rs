//! The disk of a prepared base: its base's, grown.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::ResolvedBase;
use crate::disk::{self, Disk, Overlay, Raw, Slice};
use crate::fs::{Ext4, ImagePartition, Kind};
use crate::image::Image;
use crate::sandbox::Sandbox;
use crate::table;
use crate::util::error::{Context, Error, Result};

/// A FAT file system of a disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FatPartition {
    /// Where the image mounts it: `/boot/firmware`.
    pub point: String,
    /// Its bytes of the disk.
    pub range: Range<u64>,
}

/// The parts of a disk that its programs expect to see.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub(crate) struct DiskParts {
    pub root: ImagePartition,
    pub fat: Vec<FatPartition>,
}

/// Makes a copy of `base` at `image`, grown to `size` bytes where that is given, and its root
/// partition with it. For [`Sandbox::Userns`] the root partition is left empty.
pub(crate) fn lay_out(
    base: &ResolvedBase,
    image: &Path,
    size: Option<u64>,
    sandbox: Sandbox,
) -> Result<DiskParts> {
    let from = Arc::clone(&base.disk);
    let opened = open(base, sandbox).context(|| format!("cannot use `{}`", base.origin))?;
    let root = opened.root();
    let size = size.unwrap_or(from.size());
    if size < from.size() {
        return Err(Error::input(format!(
            "the disk is to have {} MiB, but the base has {} MiB already",
            size >> 20,
            from.size().div_ceil(1 << 20)
        ))
        .hint("raise `size` in [disk]"));
    }
    let to = Raw::create(image, size)?;
    let context = || format!("cannot copy `{}`", base.path.display());
    if sandbox == Sandbox::Userns {
        // Its files are read by another process.
        base.check().context(context)?;
    } else {
        base.copy_to(&to).context(context)?;
    }
    let to: Arc<dyn Disk> = Arc::new(to);
    if sandbox == Sandbox::Userns {
        copy(&from, &to, 0..root.range.start)?;
        copy(&from, &to, root.range.end..from.size())?;
    }
    let range = match root.number() {
        Some(number) if size > from.size() => {
            table::grow_last(&*to, number).context(|| "cannot grow the root partition")?
        }
        Some(_) => root.range.clone(),
        None => 0..size,
    };
    let fat = opened.parts().iter().filter_map(|part| {
        let point = part.mount_point.as_ref().filter(|_| part.kind == Kind::Fat)?;
        Some(FatPartition { point: point.to_str()?.to_owned(), range: part.range.clone() })
    });
    Ok(DiskParts {
        root: ImagePartition {
            disk: image.to_owned(),
            offset: range.start,
            size: range.end - range.start,
        },
        fat: fat.collect(),
    })
}

/// Opens the base, and refuses what its copy would be refused for: here the user's own file can be
/// named, later it would be one that is gone with the error.
fn open(base: &ResolvedBase, sandbox: Sandbox) -> Result<Image> {
    let disk = as_named(base);
    let image = match sandbox {
        // Changed as it is.
        Sandbox::None => Image::open(Arc::new(Overlay::new(disk)), 0)?,
        // Mended by e2fsck, or made anew.
        Sandbox::Loop | Sandbox::Userns | Sandbox::Vm => {
            let image = Image::open(disk, 0)?;
            let root = image.root();
            if root.kind == Kind::Ext4 {
                Ext4::check_changeable(&*root.disk(image.disk())?)
                    .context(|| "opening the root file system")?;
            }
            image
        }
    };
    image.check_fat()?;
    Ok(image)
}

/// The base's disk, which lies in no file that a user could mend when it was unpacked into the cache.
fn as_named(base: &ResolvedBase) -> Arc<dyn Disk> {
    let is_their_own = Path::new(&base.origin) == base.path;
    let path = is_their_own.then(|| base.path.clone());
    Arc::new(NamedDisk { disk: Arc::clone(&base.disk), path })
}

/// A disk, and the file that messages are to name.
struct NamedDisk {
    disk: Arc<dyn Disk>,
    path: Option<PathBuf>,
}

impl Disk for NamedDisk {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn sector_size(&self) -> u32 {
        self.disk.sector_size()
    }

    fn location(&self) -> Option<(PathBuf, u64)> {
        Some((self.path.clone()?, 0))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.read_at(buffer, offset)
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        self.disk.next_data(from)
    }
}

/// Copies a part of a disk to the same place of another; holes stay holes.
fn copy(from: &Arc<dyn Disk>, to: &Arc<dyn Disk>, range: Range<u64>) -> Result<()> {
    let part = |disk: &Arc<dyn Disk>| Slice::new(Arc::clone(disk), range.clone());
    let copy = || disk::copy_sparse(&part(from)?, &part(to)?);
    copy().context(|| "cannot copy the base")
}
