//! What the cache knows of a download: where it came from, and who vouched for it here.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::lock_file::LockedBase;
use super::remote::Remote;
use crate::cache::About;
use crate::download::Hashes;
use crate::util::sha256::Sha256;

/// What the cache knows of a download; in `about.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Provenance {
    /// What was asked for, and who had to vouch for it. Nothing when a lock file pinned it: then
    /// only that lock vouches for it, and others must ask.
    #[serde(default)]
    pub(crate) requests: BTreeSet<String>,
    pub(crate) url: String,
    pub(crate) date: Option<String>,
    pub(crate) size: u64,
    pub(crate) sha256: Sha256,
    pub(crate) sha512: Option<String>,
    /// Fingerprint of the key whose signature over these bytes was verified.
    pub(crate) signer: Option<String>,
    pub(crate) verified: String,
}

impl Provenance {
    /// Of an image in the cache; `None` when it was not downloaded.
    pub(crate) fn read(about: &About) -> Option<Self> {
        serde_json::from_value(about.from.get("download")?.clone()).ok()
    }

    /// Whether it has these hashes, as far as there are any.
    pub(crate) fn is(&self, hashes: &Hashes) -> bool {
        !hashes.is_empty() && self.differs_in_nothing(hashes)
    }

    /// Whether it is what its publisher says now, signed by a key that may sign it. The name that it
    /// has in the cache tells which bytes it is when there is no hash.
    pub(crate) fn fits(&self, remote: &Remote) -> bool {
        let signer = remote.verifier.as_ref().map(|it| &it.fingerprint);
        self.differs_in_nothing(&remote.hashes)
            && (signer.is_none() || self.signer.as_ref() == signer)
    }

    /// Whether one of these keys signed it, where one must have.
    pub(crate) fn is_signed_by(&self, keys: Option<&[String]>) -> bool {
        keys.is_none_or(|keys| self.signer.as_ref().is_some_and(|it| keys.contains(it)))
    }

    /// The same bytes as this request found them: others may have had them from elsewhere.
    pub(crate) fn told_by(self, remote: Remote) -> Self {
        Self {
            url: remote.url,
            date: remote.date,
            signer: remote.verifier.map(|it| it.fingerprint),
            verified: remote.verified,
            ..self
        }
    }

    /// The same bytes as a lock file has them.
    pub(crate) fn told_by_lock(self, known: &LockedBase) -> Self {
        Self {
            url: known.url.clone().unwrap_or(self.url),
            date: known.date.clone(),
            signer: known.signer.clone(),
            verified: known.verified.clone(),
            ..self
        }
    }

    fn differs_in_nothing(&self, hashes: &Hashes) -> bool {
        hashes.sha256.is_none_or(|wanted| self.sha256 == wanted)
            && hashes.sha512.as_ref().is_none_or(|wanted| self.sha512.as_ref() == Some(wanted))
    }
}
