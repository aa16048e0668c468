//! SHA-256 of files, holes included, without reading the holes.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::disk::{Disk, Raw};
use crate::error::{Context, Result};
use crate::interrupt;

const CHUNK: usize = 1 << 20;

/// The file's SHA-256 as 64 hexadecimal digits.
pub fn sha256_file(path: &Path) -> Result<String> {
    let hash = || -> Result<String> {
        let file = Raw::open(path)?;
        let zeros = vec![0; CHUNK];
        let mut buffer = vec![0; CHUNK];
        let mut hasher = Sha256::new();
        let mut at = 0;
        while at < file.size() {
            let data = file.next_data(at)?.unwrap_or(file.size()..file.size());
            while at < data.start {
                let take = chunk(data.start - at);
                hasher.update(&zeros[..take]);
                at += take as u64;
            }
            while at < data.end {
                interrupt::check()?;
                let part = &mut buffer[..chunk(data.end - at)];
                file.read_at(part, at)?;
                hasher.update(&*part);
                at += part.len() as u64;
            }
        }
        Ok(to_hex(&hasher.finalize()))
    };
    hash().context(|| format!("hashing `{}`", path.display()))
}

/// Lowercase hexadecimal digits.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a string");
    }
    text
}

fn chunk(bytes: u64) -> usize {
    usize::try_from(bytes.min(CHUNK as u64)).expect("at most a MiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparse_file_hashes_as_its_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sparse");
        let disk = Raw::create(&path, 5 << 20).expect("a file");
        disk.write_at(b"in the middle", 2 << 20).expect("written");
        let whole = std::fs::read(&path).expect("read");
        assert_eq!(sha256_file(&path).expect("hashed"), to_hex(&Sha256::digest(&whole)));
    }
}
