//! What a profile needs from elsewhere besides its base: keys of apt repositories, single files.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::lock_file::{LockFile, LockedArtifact, LockedKey};
use super::remote::{BY_LOCK, CHECKSUMS_LIMIT, published};
use super::resolve::Resolver;
use crate::cache::{Cache, KEYS, PARTS, touch};
use crate::change::{Action, Change, Checksum, Content, Owner};
use crate::config::Arch;
use crate::download::{
    Certificate, Client, Hashes, Plain, Wanted, download, openpgp, text, with_fingerprint,
};
use crate::util::calendar;
use crate::util::error::{Context as _, Error, Result};
use crate::util::file_lock::FileLock;
use crate::util::sha256::Sha256;

/// The most bytes of a file that only its server vouches for: it is held in memory.
const FIRST_USE_LIMIT: u64 = 64 << 20;
/// The most bytes a file may have.
const LIMIT: u64 = 16 << 30;

/// A list of changes with all that it names at hand.
#[derive(Clone, Debug)]
pub struct PrepareInputs {
    /// The changes: every download with its hash, every key as a file, none for another processor.
    pub changes: Vec<Change>,
    /// What came from elsewhere.
    pub all: Vec<FetchedFile>,
}

/// A file from elsewhere, verified.
#[derive(Clone, Debug)]
pub struct FetchedFile {
    /// Where it came from.
    pub url: String,
    /// Where it is in the cache.
    pub path: PathBuf,
    /// Of its bytes.
    pub sha256: Sha256,
    /// What verified it, in words.
    pub verified: String,
    /// Keeps it from being pruned; a key's text is at hand already.
    pub(super) _in_use: Option<Arc<FileLock>>,
}

impl Resolver<'_> {
    /// Fetches what `changes` name, as the lock file pins it, for images of `arch`; `None` will do
    /// when no change is for one processor alone. What is new is in `file`, unsaved.
    pub fn inputs(
        &self,
        changes: &[Change],
        arch: Option<Arch>,
        file: &mut LockFile,
    ) -> Result<PrepareInputs> {
        let before = file.lock.clone();
        let mut lock = before.clone();
        lock.keys.clear();
        lock.artifacts.clear();
        lock.images.clear();
        lock.image_archives.clear();
        let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
        let mut inputs = PrepareInputs { changes: Vec::new(), all: Vec::new() };
        for change in changes {
            let by = || format!("it is asked for by {}", change.origin);
            let Change { action, origin, sources } = change;
            let mut push = |action| {
                inputs.changes.push(Change {
                    action,
                    origin: origin.clone(),
                    sources: sources.clone(),
                });
            };
            match action {
                Action::AptSource { name, key_url, fingerprint, .. } => {
                    let known = before.keys.iter().find(|it| it.url == *key_url);
                    let (key, input, bytes) = self
                        .key(name, key_url, fingerprint.as_deref(), known)
                        .map_err(|error| error.hint(by()))?;
                    push(action.clone());
                    push(Action::File {
                        path: format!("/etc/apt/keyrings/{name}.asc"),
                        content: Content::public(bytes),
                        mode: 0o644,
                        owner: Owner::root(),
                    });
                    lock.keys.push(key);
                    inputs.all.push(input);
                }
                Action::Download { arch: Some(wanted), .. } if Some(*wanted) != arch => {}
                Action::Download { url, checksum, path, mode, .. } => {
                    let known = before.artifacts.iter().find(|it| it.url == *url);
                    let (artifact, input) =
                        self.file(url, checksum, known).map_err(|error| error.hint(by()))?;
                    push(Action::Download {
                        url: url.clone(),
                        checksum: Checksum::Sha256(artifact.sha256),
                        arch: None,
                        path: path.clone(),
                        mode: *mode,
                    });
                    files.insert(path.clone(), input.path.clone());
                    lock.artifacts.push(artifact);
                    inputs.all.push(input);
                }
                // Charts stand before it in the list.
                Action::Images(wanted) => {
                    let arch = arch.ok_or_else(|| {
                        Error::failure("container images are wanted for no processor in particular")
                    })?;
                    let locks = (&before, &mut lock);
                    let (action, fetched) = self
                        .image_archive(wanted, arch, &files, locks)
                        .map_err(|error| error.hint(by()))?;
                    push(action);
                    inputs.all.extend(fetched);
                }
                Action::Grow { .. }
                | Action::Package { .. }
                | Action::File { .. }
                | Action::Directory { .. }
                | Action::Symlink { .. }
                | Action::Remove { .. }
                | Action::Unit { .. }
                | Action::User(_)
                | Action::KernelArgument { .. }
                | Action::KernelArgumentRemoved { .. }
                | Action::ConfigTxt { .. }
                | Action::Hostname { .. }
                | Action::MachineId { .. }
                | Action::DiskId { .. }
                | Action::Locale { .. }
                | Action::Keyboard { .. }
                | Action::Timezone { .. } => push(action.clone()),
            }
        }
        lock.keys.dedup();
        lock.artifacts.dedup();
        if lock != before && self.options.locked {
            return Err(
                file.would_change("it does not pin every key, artifact and container image")
            );
        }
        file.lock = lock;
        file.check(changes)?;
        Ok(inputs)
    }

    /// The key of an apt source, alone and armored.
    fn key(
        &self,
        name: &str,
        url: &str,
        fingerprint: Option<&str>,
        known: Option<&LockedKey>,
    ) -> Result<(LockedKey, FetchedFile, String)> {
        let known = known
            .filter(|it| fingerprint.is_none_or(|wanted| wanted == it.fingerprint))
            .filter(|_| !self.options.update);
        let pinned = fingerprint.or(known.map(|it| it.fingerprint.as_str()));
        let folder = self.cache.folder(KEYS)?;
        let cached = pinned.and_then(|it| fs::read(folder.join(format!("{it}.asc"))).ok());
        let is_good =
            |bytes: &[u8]| known.map_or(self.options.offline, |it| it.sha256 == Sha256::of(bytes));
        let certificate = match (cached.filter(|it| is_good(it)), pinned) {
            (Some(bytes), Some(pinned)) => with_fingerprint(&bytes, pinned)?,
            _ if self.options.offline => return Err(not_cached(url)),
            _ => self.fetch_key(name, url, pinned)?,
        };
        let (armored, fingerprint) = (certificate.armored()?, certificate.fingerprint());
        let path = folder.join(format!("{fingerprint}.asc"));
        if self.cache.is_read_only() {
            // A look leaves the cache as it is.
        } else if fs::read(&path).is_ok_and(|it| it == armored.as_bytes()) {
            touch(&path);
        } else {
            Cache::write(&path, armored.as_bytes())?;
        }
        let sha256 = Sha256::of(&armored);
        let same = known.filter(|it| it.sha256 == sha256);
        let expires = certificate.expires().map(|second| calendar::date(second / 86_400));
        let key = LockedKey {
            url: url.to_owned(),
            fingerprint: fingerprint.clone(),
            // Locks of earlier versions do not say.
            expires: if self.options.locked {
                same.and_then(|it| it.expires.clone())
            } else {
                expires
            },
            sha256,
        };
        let verified = match pinned {
            Some(_) => format!("pinned fingerprint {fingerprint}"),
            None => format!("fingerprint {fingerprint}, trusted over https at first use"),
        };
        let (url, sha256) = (url.to_owned(), key.sha256);
        let download = FetchedFile { url, path, sha256, verified, _in_use: None };
        Ok((key, download, armored))
    }

    fn fetch_key(&self, name: &str, url: &str, pinned: Option<&str>) -> Result<Certificate> {
        self.progress.stage(&format!("fetching the key of {name}"));
        let plain = if pinned.is_some() { Plain::Allowed } else { Plain::Refused };
        let fetch = || {
            let bytes = Client::new()?.get(url, plain, openpgp::LIMIT, self.progress)?;
            let Some(pinned) = pinned else { return only_key(&bytes) };
            with_fingerprint(&bytes, pinned)
        };
        let certificate =
            fetch().context(|| format!("the key of the apt source `{name}`, `{url}`"))?;
        // A new lock file would not help.
        if let Some(day) = certificate.expires().map(|it| calendar::date(it / 86_400))
            && day < calendar::today()
        {
            return Err(Error::failure(format!(
                "the key {} of the apt source `{name}` expired on {day}, and `{url}` has no newer one",
                certificate.fingerprint()
            ))
            .hint(
                "find the key that signs now at its publisher, and give its address: `key_url` of the \
                 `[[apt_source]]`, or the setting that it is taken from",
            ));
        }
        if pinned.is_none() {
            self.progress.warn(&format!(
                "trusting the key {} of the apt source `{name}` at first use: nodeforge.lock pins it",
                certificate.fingerprint()
            ));
        }
        Ok(certificate)
    }

    /// A file, in the cache.
    pub(super) fn file(
        &self,
        url: &str,
        checksum: &Checksum,
        known: Option<&LockedArtifact>,
    ) -> Result<(LockedArtifact, FetchedFile)> {
        // What verified it now, and what did when it was locked.
        let (sha256, verified, recorded) = match checksum {
            Checksum::Sha256(hash) => (*hash, "SHA-256 pinned in the profile".to_owned(), None),
            Checksum::Sha256Url(list) => match known.filter(|_| !self.options.update) {
                Some(known) => (
                    known.sha256,
                    format!("SHA-256 pinned in {BY_LOCK}"),
                    Some(known.verified.clone()),
                ),
                None if self.options.offline => return Err(not_cached(url)),
                None => (self.listed(list, url)?, format!("SHA-256 listed in {list}"), None),
            },
            Checksum::FirstUse => match known.filter(|_| !self.options.update) {
                Some(known) => (
                    known.sha256,
                    format!("SHA-256 pinned in {BY_LOCK}"),
                    Some(known.verified.clone()),
                ),
                None if self.options.offline => return Err(not_cached(url)),
                None => return self.first_use(url),
            },
        };
        let (path, in_use) = self.cache.file(sha256, self.progress, |place| {
            if self.options.offline {
                return Err(not_cached(url));
            }
            let name = url.rsplit('/').next().unwrap_or(url);
            self.progress.stage(&format!("downloading {name}"));
            let wanted = Wanted {
                url,
                hashes: Hashes { sha256: Some(sha256), sha512: None },
                verifier: None,
                is_image: false,
                limit: LIMIT,
                key: &sha256.to_string(),
            };
            let parts = self.cache.folder(PARTS)?;
            download(&Client::new()?, &wanted, &parts, place, self.progress).map(drop)
        })?;
        let locked = LockedArtifact {
            url: url.to_owned(),
            sha256,
            verified: recorded.unwrap_or_else(|| verified.clone()),
        };
        let url = url.to_owned();
        Ok((locked, FetchedFile { url, path, sha256, verified, _in_use: Some(in_use) }))
    }

    /// A file that nothing vouches for but its server: what comes is pinned.
    fn first_use(&self, url: &str) -> Result<(LockedArtifact, FetchedFile)> {
        self.progress.stage(&format!("downloading {}", url.rsplit('/').next().unwrap_or(url)));
        let bytes = Client::new()?.get(url, Plain::Refused, FIRST_USE_LIMIT, self.progress)?;
        let sha256 = Sha256::of(&bytes);
        self.progress.warn(&format!(
            "trusting `{url}` at first use: nodeforge.lock pins its SHA-256 {sha256}"
        ));
        let (path, in_use) = self.cache.file(sha256, self.progress, |place| {
            std::fs::write(place, &bytes).context(|| format!("writing `{}`", place.display()))
        })?;
        let (url, verified) = (url.to_owned(), "trusted over https at first use".to_owned());
        let locked = LockedArtifact { url: url.clone(), sha256, verified: verified.clone() };
        Ok((locked, FetchedFile { url, path, sha256, verified, _in_use: Some(in_use) }))
    }

    /// What a publisher's list says a file must be.
    fn listed(&self, list: &str, url: &str) -> Result<Sha256> {
        self.progress.stage(&format!("reading {list}"));
        let bytes = Client::new()?.get(list, Plain::Refused, CHECKSUMS_LIMIT, self.progress)?;
        published(&text(list, bytes)?, list, url)?
            .sha256
            .ok_or_else(|| Error::failure(format!("`{list}` lists no SHA-256 of `{url}`")))
    }
}

/// The key of a file that must hold one alone: nothing says which of several is meant.
fn only_key(bytes: &[u8]) -> Result<Certificate> {
    let mut certificates = Certificate::read_all(bytes)?;
    match (certificates.pop(), certificates.as_slice()) {
        (Some(only), []) => Ok(only),
        (last, others) => {
            let all: Vec<_> =
                others.iter().chain(last.as_ref()).map(Certificate::fingerprint).collect();
            Err(Error::input("the file holds more than one key")
                .hint(format!("name one as `fingerprint`: {}", all.join(", "))))
        }
    }
}

pub(super) fn not_cached(url: &str) -> Error {
    Error::failure(format!("the cache does not have `{url}`"))
        .hint("without `--offline` it is fetched")
}
