//! One disk as one file that needs no other.

use std::fs::File;
use std::io::BufWriter;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use super::compressed::{Codec, Shelf, Target};
use crate::artifact::compressed;
use crate::config::Vm;
use crate::disk::sha256_of_disk;
use crate::disk::vmdk::{self, ContentId};
use crate::disk::{Delta, Disk, Occupied, Raw, copy_sparse, qcow2};
use crate::util::error::{Context, Error, Result};

/// A format for a file that needs no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alone {
    /// The disk's bytes.
    Raw,
    /// The same, packed by xz in blocks.
    RawXz,
    /// The same, packed by zstd in frames.
    RawZst,
    /// QEMU's.
    Qcow2,
    /// VMware's.
    Vmdk,
}

impl Alone {
    /// The format that a file's name asks for; `Input` when it asks for none.
    pub fn of(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let endings = [
            (".img", Self::Raw),
            (".raw", Self::Raw),
            (".img.xz", Self::RawXz),
            (".raw.xz", Self::RawXz),
            (".img.zst", Self::RawZst),
            (".raw.zst", Self::RawZst),
            (".qcow2", Self::Qcow2),
            (".vmdk", Self::Vmdk),
        ];
        let asked = endings.iter().find(|(ending, _)| name.ends_with(ending));
        asked.map(|&(_, format)| format).ok_or_else(|| {
            Error::input(format!("`{name}` does not say which format it shall have"))
                .hint("let it end in .img, .img.xz, .img.zst, .qcow2 or .vmdk")
        })
    }
}

/// Writes a disk to `path`, in place of what is there, whole or not at all, for nobody else to read.
/// Returns how many bytes it occupies.
pub fn write_alone(format: Alone, path: &Path, disk: &dyn Disk) -> Result<u64> {
    let context = || format!("writing `{}`", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // What a killed run leaves behind says what it was.
    let temporary = tempfile::Builder::new()
        .prefix(&format!(".{name}."))
        .suffix(".part")
        .tempfile_in(folder)
        .context(context)?;
    write(format, temporary.as_file(), &name, disk).context(context)?;
    temporary.as_file().sync_all().context(context)?;
    let occupied = temporary.as_file().metadata().context(context)?.blocks() * 512;
    temporary.persist(path).map_err(|error| error.error).context(context)?;
    File::open(folder).and_then(|folder| folder.sync_all()).context(context)?;
    Ok(occupied)
}

fn write(format: Alone, file: &File, name: &str, disk: &dyn Disk) -> Result<()> {
    let pack = |codec| {
        let target = Target { file: Arc::new(file.try_clone()?), delta: &Delta::new() };
        compressed::write(codec, disk, &[target], &Shelf::default())
    };
    let mut out = BufWriter::with_capacity(1 << 20, file);
    match format {
        Alone::Raw => {
            file.set_len(disk.size())?;
            let raw = Raw::from_file(file.try_clone()?, true)?;
            copy_sparse(disk, &raw)?;
        }
        Alone::RawXz => pack(Codec::Xz)?,
        Alone::RawZst => pack(Codec::Zstd)?,
        Alone::Qcow2 => qcow2::write(&mut out, disk.size(), &Occupied::find(disk)?, None)?,
        Alone::Vmdk => {
            let hash = sha256_of_disk(disk)?;
            let half = hash.bytes().first_chunk().expect("a hash has 32 bytes");
            let image = vmdk::Image {
                size: disk.size(),
                content_id: ContentId::from_hash(*half),
                parent: None,
                file_name: name,
                hardware_version: Vm::default().hardware_version,
            };
            vmdk::write(&mut out, &image, &Occupied::find(disk)?)?;
        }
    }
    out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_the_format() {
        let format = |name: &str| Alone::of(Path::new(name)).ok();
        assert_eq!(format("out/a.img"), Some(Alone::Raw));
        assert_eq!(format("a.img.xz"), Some(Alone::RawXz));
        assert_eq!(format("a.b.qcow2"), Some(Alone::Qcow2));
        assert_eq!(format("a.xz"), None);
        assert_eq!(format("img"), None);
    }
}
