//! Images on this machine that are not raw: copied into the cache.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::catalogue::MAX_SIZE;
use crate::disk::{self, Disk, Raw, copy_sparse};
use crate::download::{Trouble, Unpacked, unpack};
use crate::util::error::{Context as _, Error, Result};
use crate::util::hash::{Hashing, sha256_of_disk};
use crate::util::sha256::Sha256;

/// Where a qcow2 header says at which offset a backing file's name is (docs/interop/qcow2.txt of
/// QEMU); zero for none.
const BACKING_FILE_OFFSET: u64 = 8;

/// Copies the image of a downloaded qcow2 file to the raw file `output`, which is there and
/// empty; returns its SHA-256. It must need no other file: a stranger's must not reach into ours.
pub(crate) fn container(path: &Path, output: &Path, limit: u64) -> Result<Sha256, Trouble> {
    let mut offset = [0; 8];
    File::open(path)?.read_exact_at(&mut offset, BACKING_FILE_OFFSET)?;
    if offset != [0; 8] {
        return Err(Error::input("it lies on another image, which did not come with it").into());
    }
    let disk = disk::open(path)?;
    if disk.size() > limit {
        return Err(Error::failure(format!("the image has more than {limit} bytes")).into());
    }
    copy(&*disk, output).map_err(Trouble::Disk)
}

/// Copies a disk's bytes, without zeros, to a raw file that is there and empty; returns their
/// SHA-256.
pub(crate) fn copy(disk: &dyn Disk, output: &Path) -> Result<Sha256> {
    let context = || format!("writing `{}`", output.display());
    let file = File::options().write(true).open(output).context(context)?;
    file.set_len(disk.size()).context(context)?;
    let raw = Raw::open_writable(output)?;
    copy_sparse(disk, &raw).context(context)?;
    sha256_of_disk(&raw).context(context)
}

/// Whether a file of the user's is a tar archive.
pub(crate) fn is_archive(path: &Path) -> Result<bool> {
    let head = File::open(path).and_then(|mut file| unpack::peek(&mut file));
    Ok(unpack::is_archive(&head.context(|| format!("reading `{}`", path.display()))?))
}

/// Unpacks a compressed file, or an archive, of the user's to the raw file `output`; returns its SHA-256. What is
/// unpacked must be what has the SHA-256 that is known of the file.
pub(crate) fn compressed(path: &Path, output: &Path, sha256: Sha256) -> Result<Sha256> {
    let input = File::open(path).context(|| format!("opening `{}`", path.display()))?;
    let file = File::create_new(output).context(|| format!("creating `{}`", output.display()))?;
    let mut input = Hashing::new(input);
    let unpacked = unpack(&mut input, &file, MAX_SIZE).map_err(|trouble| {
        Error::from(trouble).context(format!("unpacking `{}`", path.display()))
    })?;
    if input.finish() != sha256 {
        return Err(Error::failure(format!("`{}` changed while it was read", path.display())));
    }
    match unpacked {
        Unpacked::Image { sha256, .. } => Ok(sha256),
        Unpacked::Container | Unpacked::File => {
            Err(Error::failure(format!("`{}` is not compressed", path.display())))
        }
    }
}
