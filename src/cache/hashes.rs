//! Hashes of the user's own images, so that a base of gigabytes is not read for each build.

use std::fs::{self, Metadata};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::store::Cache;
use crate::disk::Raw;
use crate::disk::sha256_of_disk;
use crate::util::error::{Context as _, Result};
use crate::util::file_identity::FileIdentity;
use crate::util::sha256::Sha256;

/// A file written since may have been written again within its clock's resolution.
const SETTLED: Duration = Duration::from_secs(2);

/// A file's hash, and what tells that it is still the same file.
#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct KnownHash {
    #[serde(flatten)]
    identity: FileIdentity,
    sha256: Sha256,
}

impl KnownHash {
    fn new(metadata: &Metadata, sha256: Sha256) -> Self {
        Self { identity: FileIdentity::of(metadata), sha256 }
    }
}

/// SHA-256 of a file, read only when it changed since the last time.
pub(crate) fn sha256_of(path: &Path, raw: &Raw, cache: &Cache) -> Result<Sha256> {
    let read = || raw.file().metadata().context(|| format!("reading `{}`", path.display()));
    let before = read()?;
    let name = Sha256::of(path.as_os_str().as_encoded_bytes()).to_string();
    // A cache that cannot be written makes this slow, not wrong.
    let file = cache.folder("hashes").ok().map(|folder| folder.join(name));
    let remembered = file.as_ref().and_then(|file| fs::read(file).ok());
    if let Some(known) = remembered.and_then(|text| serde_json::from_slice::<KnownHash>(&text).ok())
        && known == KnownHash::new(&before, known.sha256)
    {
        return Ok(known.sha256);
    }
    let known = KnownHash::new(
        &before,
        sha256_of_disk(raw).context(|| format!("hashing `{}`", path.display()))?,
    );
    let is_settled =
        before.modified().ok().and_then(|it| SystemTime::now().duration_since(it).ok());
    let is_same = KnownHash::new(&read()?, known.sha256) == known;
    if let Some(file) = file
        && !cache.is_read_only()
        && is_same
        && is_settled.is_some_and(|age| age > SETTLED)
        && let Ok(text) = serde_json::to_vec(&known)
    {
        drop(Cache::write(&file, &text));
    }
    Ok(known.sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_when_it_changed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache")).unwrap();
        let path = folder.path().join("image");
        let age = |seconds| {
            let then = SystemTime::now() - Duration::from_secs(seconds);
            fs::File::options().append(true).open(&path).unwrap().set_modified(then).unwrap();
        };
        fs::write(&path, "one").unwrap();
        age(100);
        let one = sha256_of(&path, &Raw::open(&path).unwrap(), &cache).unwrap();
        assert_eq!(sha256_of(&path, &Raw::open(&path).unwrap(), &cache).unwrap(), one);
        assert_eq!(fs::read_dir(folder.path().join("cache/hashes")).unwrap().count(), 1);
        fs::write(&path, "two").unwrap();
        age(50);
        assert_ne!(sha256_of(&path, &Raw::open(&path).unwrap(), &cache).unwrap(), one);
    }
}
