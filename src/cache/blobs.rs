//! What the cache keeps besides images: single files whose names say what they must be.

use std::fs::{self, FileTimes, Metadata};
use std::path::Path;
use std::time::SystemTime;

use super::deb;
use crate::disk::sha256_of_file;
use crate::download::with_fingerprint;
use crate::util::error::{Context as _, Result};

/// Where files are in the cache, under their SHA-256.
pub(crate) const FILES: &str = "files";
/// Where keys are in the cache, under their fingerprints.
pub(crate) const KEYS: &str = "keys";
/// Where .deb files are in the cache, under the names that apt gives them.
const DEBS: &str = "debs";

/// A kind of single files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blob {
    /// Named after their SHA-256.
    Files,
    /// OpenPGP keys, named after their fingerprints.
    Keys,
    /// Packages, whose members carry checksums.
    Debs,
}

impl Blob {
    pub(crate) const ALL: [Self; 3] = [Self::Files, Self::Keys, Self::Debs];

    /// Its folder in the cache.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Files => FILES,
            Self::Keys => KEYS,
            Self::Debs => DEBS,
        }
    }

    /// When a file was used last.
    pub(crate) fn used(self, metadata: &Metadata) -> SystemTime {
        let time = match self {
            Self::Files | Self::Keys => metadata.modified(),
            // apt dates a package as its server does; who installs it reads it.
            Self::Debs => metadata.accessed(),
        };
        time.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Whether a file is what its name says. What cannot be read is an error.
    pub(crate) fn is_sound(self, path: &Path) -> Result<bool> {
        let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
        match self {
            Self::Files => Ok(sha256_of_file(path)?.to_string() == name),
            Self::Keys => {
                let fingerprint = name.trim_end_matches(".asc");
                let bytes = fs::read(path).context(|| format!("reading `{}`", path.display()))?;
                Ok(with_fingerprint(&bytes, fingerprint).is_ok())
            }
            Self::Debs => {
                let before = fs::metadata(path).and_then(|it| it.accessed());
                let is_sound = deb::is_sound(path);
                // Checking it does not count as using it. Where its time cannot be put back, it stays for longer.
                if let Ok(before) = before {
                    let times = FileTimes::new().set_accessed(before);
                    drop(fs::File::open(path).and_then(|file| file.set_times(times)));
                }
                is_sound
            }
        }
    }
}
