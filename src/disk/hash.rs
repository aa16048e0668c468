//! SHA-256 of whole disks and files; holes are hashed without being read.

use std::path::Path;

use sha2::Digest as _;

use super::{Disk, Raw};
use crate::util::error::{Context, Result};
use crate::util::interrupt;
use crate::util::sha256::Sha256;

/// How much is hashed between two looks at the interrupt flag, in bytes.
const CHUNK: u64 = 4 << 20;

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
