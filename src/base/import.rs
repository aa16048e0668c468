//! Images on this machine that are not raw: copied into the cache.

use std::fs::File;
use std::path::Path;

use super::catalogue::MAX_SIZE;
use crate::disk;
use crate::download::{Unpacked, unpack};
use crate::util::error::{Context as _, Error, Result};
use crate::util::sha256::Hashing;
use crate::util::sha256::Sha256;

/// Whether a file of the user's is a tar archive.
pub(crate) fn is_archive(path: &Path, file: &File) -> Result<bool> {
    let head = unpack::peek(&mut &*file);
    Ok(disk::is_archive(&head.context(|| format!("reading `{}`", path.display()))?))
}

/// Unpacks a compressed file, or an archive, of the user's to the raw file `output`; returns its SHA-256. What is
/// unpacked must be what has the SHA-256 that is known of the file.
pub(crate) fn compressed(path: &Path, output: &Path, sha256: Sha256) -> Result<Sha256> {
    let input = File::open(path).context(|| format!("opening `{}`", path.display()))?;
    let context = || format!("unpacking `{}`", path.display());
    let format = disk::probe(path)?;
    disk::refuse_larger(&input, format, MAX_SIZE).context(context)?;
    let file = File::create_new(output).context(|| format!("creating `{}`", output.display()))?;
    let mut input = Hashing::new(input);
    let unpacked = unpack(&mut input, &file, MAX_SIZE)
        .map_err(|trouble| Error::from(trouble).context(context()))?;
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
