//! SHA-256 of texts, files and whole disks.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::path::Path;

use sha2::Digest as _;

use super::error::{Context, Result};
use super::sha256::Sha256;
use crate::disk::{Disk, Raw};
use crate::util::interrupt;

/// How much is hashed between two looks at the interrupt flag, in bytes.
const CHUNK: u64 = 4 << 20;

/// 64 hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a string");
    }
    text
}

/// Hashes what is read through it.
pub(crate) struct Hashing<R> {
    inner: R,
    hash: sha2::Sha256,
}

impl<R: Read> Hashing<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, hash: sha2::Sha256::new() }
    }

    /// SHA-256 of all that was read.
    pub(crate) fn finish(self) -> Sha256 {
        Sha256::finish(self.hash)
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hash.update(&buffer[..length]);
        Ok(length)
    }
}

/// SHA-256 of all of a disk's bytes. Holes are hashed without being read.
pub fn sha256_of_disk(disk: &dyn Disk) -> Result<Sha256> {
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; usize::try_from(CHUNK).expect("4 MiB")];
    let zeros = buffer.clone();
    let mut at = 0;
    while let Some(run) = disk.next_data(at)? {
        feed_zeros(&mut hash, &zeros, run.start - at)?;
        at = run.start;
        while at < run.end {
            interrupt::check()?;
            let length = CHUNK.min(run.end - at);
            let part = &mut buffer[..usize::try_from(length).expect("at most 4 MiB")];
            disk.read_at(part, at)?;
            hash.update(&*part);
            at += length;
        }
    }
    feed_zeros(&mut hash, &zeros, disk.size() - at)?;
    Ok(Sha256::finish(hash))
}

/// SHA-256 of a file. Holes are hashed without being read.
pub fn sha256_of_file(path: &Path) -> Result<Sha256> {
    sha256_of_disk(&Raw::open(path)?).context(|| format!("hashing `{}`", path.display()))
}

fn feed_zeros(hash: &mut sha2::Sha256, zeros: &[u8], mut count: u64) -> Result<()> {
    while count > 0 {
        interrupt::check()?;
        let length = CHUNK.min(count);
        hash.update(&zeros[..usize::try_from(length).expect("at most 4 MiB")]);
        count -= length;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::process::Tool;

    #[test]
    fn holes_count_as_zeros() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        let disk = Raw::create(&path, 9 << 20).unwrap();
        disk.write_at(b"hello", (5 << 20) - 2).unwrap();
        let theirs = Tool::new("sha256sum", "coreutils").arg(&path).run().unwrap();
        let own = sha256_of_disk(&disk).unwrap().to_string();
        assert_eq!(theirs.split(' ').next().unwrap(), own);
    }
}
