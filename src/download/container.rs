//! Disks copied into raw files: of images that were downloaded as qcow2, and of any other disk.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::unpack::Trouble;
use crate::disk::sha256_of_disk;
use crate::disk::{self, Disk, Raw, copy_sparse};
use crate::util::error::{Context as _, Error, Result};
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
        return Err(Error::input("it needs a backing file, which did not come with it").into());
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
