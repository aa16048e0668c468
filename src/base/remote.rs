//! A base from elsewhere: what is known of it before it is downloaded.

use std::path::Path;

use super::catalogue::{Catalogue, KeyPlace, MAX_SIZE, Release};
use super::lock_file::LockedBase;
use crate::base::catalogue;
use crate::download::{
    Certificate, Client, Hashes, Plain, Verifier, checksums, openpgp, text, with_fingerprint,
};
use crate::util::error::{Context as _, Error, Result};
use crate::util::progress::Progress;
use crate::util::sha256::Sha256;

/// Who pinned what a cluster file pins, for people.
pub(crate) const BY_CLUSTER_FILE: &str = "the cluster file";
/// Who pinned what the catalogue pins, for people.
pub(crate) const BY_CATALOGUE: &str = "the catalogue";
/// Who pinned what a lock file pins, for people.
pub(crate) const BY_LOCK: &str = "nodeforge.lock";
/// What helps where what a lock file pins is gone.
const MOVE_ON: &str =
    "publishers remove old releases: `nodeforge lock --update` moves on to the newest";
/// The most bytes a file of checksums may have.
pub(crate) const CHECKSUMS_LIMIT: u64 = 8 << 20;

/// A download and everything that says what it must be.
pub(crate) struct Remote {
    pub(crate) url: String,
    pub(crate) date: Option<String>,
    /// Pinned or published.
    pub(crate) hashes: Hashes,
    pub(crate) verifier: Option<Verifier>,
    /// The most bytes the raw image may have.
    pub(crate) limit: u64,
    /// What is worth believing in it, in words.
    pub(crate) verified: String,
    /// Stands for the same bytes wherever they come from.
    pub(crate) key: String,
}

/// Where a user's own image is, and what pins it.
pub(crate) struct Pinned<'a> {
    pub(crate) url: &'a str,
    pub(crate) hashes: Hashes,
    /// Address of a signature, and the key that must have made it.
    pub(crate) signature: Option<(&'a str, &'a str)>,
    /// Who pinned the hashes, for people: `the cluster file`.
    pub(crate) by: &'a str,
}

impl Remote {
    /// Takes over the hashes that a lock file pins.
    pub(crate) fn add(&mut self, known: &LockedBase) -> Result<()> {
        let mut hashes = known.hashes();
        hashes.merge(self.hashes.clone(), "the publisher")?;
        if self.hashes.is_empty() {
            self.key = key_of(&hashes, None).unwrap_or_else(|| self.key.clone());
        }
        self.hashes = hashes;
        Ok(())
    }
}

/// A key as a cluster file names it.
pub(crate) enum NamedKey {
    /// A file's.
    Here(Vec<Certificate>),
    /// `https://…#FINGERPRINT`, or a fingerprint.
    Elsewhere(KeyPlace),
}

/// Asks the network about images.
pub(crate) struct Inquiry<'a> {
    pub(crate) client: &'a Client,
    pub(crate) catalogue: &'a Catalogue,
    /// What relative paths of keys start from.
    pub(crate) directory: &'a Path,
    pub(crate) progress: &'a dyn Progress,
}

impl Inquiry<'_> {
    /// An image of the user's own.
    pub(crate) fn pinned(&self, pinned: &Pinned<'_>) -> Result<Remote> {
        let mut verifier = None;
        let mut signature_hash = None;
        if let Some((address, key)) = pinned.signature {
            let certificates = self.certificates_of(key)?;
            let bytes = self.signature(address)?;
            verifier = Some(checked_verifier(&bytes, &certificates, address)?);
            signature_hash = Some(Sha256::of(&bytes));
        }
        let signer = verifier.as_ref().map(|it| it.fingerprint.as_str());
        let verified = words(&pinned.hashes, pinned.by, signer);
        Ok(Remote {
            url: pinned.url.to_owned(),
            date: None,
            key: key_of(&pinned.hashes, signature_hash).ok_or_else(|| unverifiable(pinned.url))?,
            hashes: pinned.hashes.clone(),
            verifier,
            limit: MAX_SIZE,
            verified,
        })
    }

    /// An image of the catalogue: of a date, or the newest that is complete.
    pub(crate) fn named(&self, name: &str, date: Option<&str>) -> Result<Remote> {
        let entry = self.catalogue.entry(name)?;
        let releases = entry.find(self.client, date, self.progress)?;
        for release in releases {
            if let Some(remote) = self.release(&release)? {
                return Ok(remote);
            }
        }
        Err(Error::failure(format!("the newest releases of `{name}` are not complete"))
            .hint(format!("name one that is: `nodeforge fetch --list {name}` shows them")))
    }

    /// The release of an image of the catalogue that a lock file pins. Where a signature must vouch for it,
    /// that is verified all the same; else the lock file is enough, and its publisher is not asked.
    pub(crate) fn locked(
        &self,
        name: &str,
        date: Option<&str>,
        known: &LockedBase,
    ) -> Result<Remote> {
        let entry = self.catalogue.entry(name)?;
        let url = known.url.as_deref().unwrap_or_default();
        let release = entry
            .release_at(url, date)
            .ok_or_else(|| Error::input(format!("the catalogue has no `{name}` at `{url}`")))?;
        if entry.is_signed() {
            let mut remote = self.release(&release)?.ok_or_else(|| {
                let list = release.checksums.as_deref().unwrap_or_default();
                Error::failure(format!("`{list}` is not there, which must vouch for the image"))
                    .hint(MOVE_ON)
            })?;
            remote.add(known)?;
            return Ok(remote);
        }
        let mut hashes = Hashes { sha256: release.sha256, sha512: None };
        let verified = words(&hashes, BY_CATALOGUE, None);
        hashes.merge(known.hashes(), BY_LOCK)?;
        Ok(Remote {
            url: release.url,
            date: release.date.or_else(|| known.date.clone()),
            key: key_of(&hashes, None).ok_or_else(|| unverifiable(url))?,
            hashes,
            verifier: None,
            limit: release.max_size,
            verified,
        })
    }

    /// `None` when the publisher's checksums are not there (yet).
    fn release(&self, release: &Release) -> Result<Option<Remote>> {
        let mut hashes = Hashes { sha256: release.sha256, sha512: None };
        let mut words = pinned_words(&hashes, BY_CATALOGUE);
        let certificates = self.certificates(&release.keys)?;
        let is_pinned = !certificates.is_empty() || !hashes.is_empty();
        let plain = if is_pinned { Plain::Allowed } else { Plain::Refused };
        if let Some(url) = &release.checksums {
            let Some(bytes) = self.client.find(url, plain, CHECKSUMS_LIMIT, self.progress)? else {
                return Ok(None);
            };
            if let Some(signature) = &release.checksums_signature {
                let verifier =
                    checked_verifier(&self.signature(signature)?, &certificates, signature)?;
                verifier.verify(&*bytes).context(|| format!("`{url}` is not genuine"))?;
                words.push(format!("{url}, signed by {}", verifier.fingerprint));
            } else if url.starts_with("https://") && release.signature.is_none() {
                words.push(format!("{url}, which is not signed: trusted over https at first use"));
            }
            let published = published(&text(url, bytes)?, url, &release.url)?;
            hashes.merge(published, &format!("`{url}`"))?;
        }
        let mut verifier = None;
        let mut signature_hash = None;
        if let Some(address) = &release.signature {
            let bytes = self.signature(address)?;
            let found = checked_verifier(&bytes, &certificates, address)?;
            words.push(signed_words(&found.fingerprint));
            verifier = Some(found);
            signature_hash = Some(Sha256::of(&bytes));
        }
        Ok(Some(Remote {
            url: release.url.clone(),
            date: release.date.clone(),
            key: key_of(&hashes, signature_hash).ok_or_else(|| unverifiable(&release.url))?,
            hashes,
            verifier,
            limit: release.max_size,
            verified: words.join(" and "),
        }))
    }

    fn signature(&self, url: &str) -> Result<Vec<u8>> {
        self.client
            .find(url, Plain::Allowed, openpgp::LIMIT, self.progress)?
            .ok_or_else(|| Error::failure(format!("the signature `{url}` is missing")))
    }

    /// The keys of fingerprints, fetched each time, so that a revocation is seen.
    fn certificates(&self, fingerprints: &[String]) -> Result<Vec<Certificate>> {
        let mut found = Vec::new();
        let mut problem = None;
        for fingerprint in fingerprints {
            match self.fetch_key(&self.catalogue.key(fingerprint)) {
                Ok(certificate) => found.push(certificate),
                Err(error) => problem = Some(error),
            }
        }
        // Of several keys that may sign one is enough: only one did.
        match problem {
            Some(error) if found.is_empty() => Err(error),
            _ => Ok(found),
        }
    }

    fn fetch_key(&self, place: &KeyPlace) -> Result<Certificate> {
        let mut problem = None;
        for url in &place.urls {
            let fetched = self
                .client
                .get(url, Plain::Allowed, openpgp::LIMIT, self.progress)
                .and_then(|bytes| with_fingerprint(&bytes, &place.fingerprint))
                .context(|| format!("fetching the key from `{url}`"));
            match fetched {
                Ok(certificate) => return Ok(certificate),
                Err(error) => problem = Some(error),
            }
        }
        let error = problem.unwrap_or_else(|| Error::input("the catalogue names no place for it"));
        Err(error.context(format!("the key {} cannot be had", place.fingerprint)))
    }

    fn certificates_of(&self, key: &str) -> Result<Vec<Certificate>> {
        match NamedKey::new(key, self.directory, self.catalogue)? {
            NamedKey::Here(certificates) => Ok(certificates),
            NamedKey::Elsewhere(place) => Ok(vec![self.fetch_key(&place)?]),
        }
    }
}

impl NamedKey {
    /// Relative paths start from `directory`.
    pub(crate) fn new(key: &str, directory: &Path, catalogue: &Catalogue) -> Result<Self> {
        if let Some((url, fingerprint)) = key.split_once('#').filter(|(url, _)| is_address(url)) {
            let fingerprint = catalogue::fingerprint(fingerprint)?;
            return Ok(Self::Elsewhere(KeyPlace { fingerprint, urls: vec![url.to_owned()] }));
        }
        if is_address(key) {
            return Err(Error::input(format!("nothing pins the key at `{key}`"))
                .hint(format!("add its fingerprint: `key = \"{key}#FINGERPRINT\"`")));
        }
        if let Ok(fingerprint) = catalogue::fingerprint(key) {
            return Ok(Self::Elsewhere(catalogue.key(&fingerprint)));
        }
        let path = directory.join(key);
        std::fs::read(&path)
            .map_err(|error| Error::input(Error::from(error).to_string()))
            .and_then(|bytes| Certificate::read_all(&bytes))
            .map(Self::Here)
            .context(|| format!("reading the key `{}`", path.display()))
    }

    pub(crate) fn fingerprints(&self) -> Vec<String> {
        match self {
            Self::Here(certificates) => certificates.iter().map(Certificate::fingerprint).collect(),
            Self::Elsewhere(place) => vec![place.fingerprint.clone()],
        }
    }
}

fn is_address(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

fn checked_verifier(bytes: &[u8], keys: &[Certificate], url: &str) -> Result<Verifier> {
    Verifier::new(bytes, keys).context(|| format!("the signature `{url}` cannot be accepted"))
}

pub(crate) fn published(text: &str, url: &str, image: &str) -> Result<Hashes> {
    let name = image.rsplit('/').next().unwrap_or(image);
    checksums::find(text, image).ok_or_else(|| {
        Error::failure(format!("`{url}` does not list `{name}`"))
            .hint("the release may be incomplete: name another one, or try again later")
    })
}

fn pinned_words(hashes: &Hashes, by: &str) -> Vec<String> {
    let named = [("SHA-256", hashes.sha256.is_some()), ("SHA-512", hashes.sha512.is_some())];
    let pinned = named.into_iter().filter(|(_, is_pinned)| *is_pinned);
    pinned.map(|(name, _)| format!("{name} pinned in {by}")).collect()
}

fn signed_words(fingerprint: &str) -> String {
    format!("OpenPGP signature by {fingerprint}")
}

/// What is worth believing in an image: hashes that somebody pinned, and who signed it.
pub(crate) fn words(hashes: &Hashes, by: &str, signer: Option<&str>) -> String {
    let mut words = pinned_words(hashes, by);
    words.extend(signer.map(signed_words));
    words.join(" and ")
}

/// A name for the bytes: their hash where it is known. A signature is as good: it holds for one
/// file only. `None` where there is none of them.
fn key_of(hashes: &Hashes, signature: Option<Sha256>) -> Option<String> {
    let sha256 = hashes.sha256.map(|hash| hash.to_string());
    // Half of it names a folder well enough.
    let sha512 = || hashes.sha512.as_ref().map(|hash| hash[..Sha256::DIGITS].to_owned());
    sha256.or_else(sha512).or_else(|| signature.map(|hash| hash.to_string()))
}

fn unverifiable(url: &str) -> Error {
    Error::input(format!("nothing says how to verify `{url}`"))
        .hint("add `sha256 = \"…\"`, or `signature` and `key`, from where the image is published")
}
