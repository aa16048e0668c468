//! Resolving a base: from the catalogue, an address, this machine, or packages.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::binding::{self, request, split};
use super::catalogue::Catalogue;
use super::lock_file::{LockFile, LockedBase};
use super::provenance::Provenance;
use super::remote::{BY_CLUSTER_FILE, BY_LOCK, Inquiry, NamedKey, Pinned, Remote};
use crate::base::{import, remote};
use crate::bootstrap;
use crate::cache::{self, About, BASES, Cache, CachedImage, EPOCH, Made, PARTS};
use crate::config::{Arch, Base};
use crate::disk::sha256_of_disk;
use crate::disk::{self, Disk, Format, Raw};
use crate::download::{Client, Hashes, Wanted, container, download};
use crate::image::{Architecture, Image, edit};
use crate::sandbox::Sandbox;
use crate::util::error::{Error, Result};
use crate::util::progress::Progress;
use crate::util::room::FolderUse;
use crate::util::sha256::Sha256;

/// How the network and the lock file may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResolveOptions {
    /// Nothing is fetched: the cache has it, or it fails.
    pub offline: bool,
    /// The lock file must be there and stay as it is.
    pub locked: bool,
    /// What the lock file pins is looked up again.
    pub update: bool,
    /// Where programs of a base that is made from packages run; `None` is the best that this host allows.
    pub sandbox: Option<Sandbox>,
}

/// Finds bases: in the cache, at their publishers, on this machine, or from packages.
#[derive(Clone, Copy)]
pub struct Resolver<'a> {
    /// Images that are there already, and new ones.
    pub cache: &'a Cache,
    /// Images by name.
    pub catalogue: &'a Catalogue,
    /// What relative paths start from: the cluster file's folder.
    pub directory: &'a Path,
    /// How the network and the lock file may be used.
    pub options: ResolveOptions,
    /// Shows what is going on.
    pub progress: &'a dyn Progress,
}

/// A base as a raw image, open.
#[derive(Clone)]
pub struct ResolvedBase {
    /// The raw image; in the cache, unless it is the user's own raw file.
    pub path: PathBuf,
    /// The user's own raw file, open; `None` for an image of the cache.
    raw: Option<Arc<Raw>>,
    /// Its bytes, those of an edit that was interrupted included.
    pub disk: Arc<dyn Disk>,
    /// SHA-256 of the raw image.
    pub sha256: Sha256,
    /// Where it came from, in words.
    pub origin: String,
    /// How it was verified, in words.
    pub verified: String,
    /// What the lock file says of it.
    pub locked: LockedBase,
    /// Whether nothing had to be fetched or made.
    pub was_cached: bool,
    /// What its programs run on, once it was looked at.
    arch: OnceCell<Arch>,
    /// Keeps it from being pruned.
    image: Option<CachedImage>,
}

impl ResolvedBase {
    /// A base that is in the cache.
    fn cached(image: CachedImage, origin: String, verified: String, locked: LockedBase) -> Self {
        Self {
            path: image.path.clone(),
            raw: None,
            disk: image.disk.clone(),
            sha256: image.about.sha256,
            origin,
            verified,
            locked,
            was_cached: image.was_cached,
            arch: OnceCell::new(),
            image: Some(image),
        }
    }

    /// Fails unless it is what it was when it came into the cache. A file of the user's own may change.
    pub fn check(&self) -> Result<()> {
        self.image.as_ref().map_or(Ok(()), CachedImage::check)
    }

    /// Copies it to a file of the cache just made that is at least as long.
    pub fn copy_to(&self, to: &Raw) -> Result<()> {
        match (&self.image, &self.raw) {
            (Some(image), _) => image.copy_to(to, FolderUse::Cache),
            (None, Some(raw)) => disk::copy_file(raw, to, FolderUse::Cache),
            (None, None) => Ok(disk::copy_sparse(&*self.disk, to)?),
        }
    }

    /// What its programs run on.
    pub fn arch(&self) -> Result<Arch> {
        if let Some(arch) = self.arch.get() {
            return Ok(*arch);
        }
        let image = Image::open(Arc::clone(&self.disk), 0)?;
        let arch = arch_of(&image, &self.path)?;
        Ok(*self.arch.get_or_init(|| arch))
    }

    /// What its programs run on, for a cluster file that may say so too, and must be right then.
    pub fn arch_for(&self, base: &Base) -> Result<Arch> {
        let arch = self.arch()?;
        match base.arch() {
            Some(said) if said != arch => {
                let (arch, said) = (arch.name(), said.name());
                Err(Error::input(format!("the base is for {arch}, and [base] says {said}"))
                    .hint(format!("`arch = \"{arch}\"`, or another image")))
            }
            _ => Ok(arch),
        }
    }
}

/// What the programs of an image run on; `name` is what messages call it.
pub fn arch_of(image: &Image, name: &Path) -> Result<Arch> {
    match image.architecture()? {
        Some(Architecture::Amd64) => Ok(Arch::Amd64),
        Some(Architecture::Arm64) => Ok(Arch::Arm64),
        Some(other) => Err(Error::input(format!(
            "`{}` is for {other}; nodeforge knows amd64 and arm64",
            name.display()
        ))),
        None => Err(Error::input(format!("`{}` contains no programs", name.display()))),
    }
}

impl Resolver<'_> {
    /// The base of a cluster, as its lock file pins it. What was found out of it is in `lock`, unsaved,
    /// when the lock file pinned none, or when the cluster file asks for another base than it did.
    pub fn resolve_locked(&self, base: &Base, lock: &mut LockFile) -> Result<ResolvedBase> {
        let known = if self.options.update {
            None
        } else {
            binding::pinned(lock, base, self.catalogue, self.directory)?.cloned()
        };
        if self.options.locked && known.is_none() {
            return Err(lock.would_change("it does not pin the base"));
        }
        let resolved = self.resolve(base, known.as_ref())?;
        if known.as_ref().is_some_and(|known| known.raw_sha256 == resolved.sha256) {
            return Ok(resolved);
        }
        if self.options.locked {
            return Err(lock.would_change("the base is another one"));
        }
        if known.is_some() {
            self.progress.warn("the base has changed: the lock file is updated");
        }
        if let Some(before) = &lock.lock.base {
            self.tell_older(before, &resolved.locked);
        }
        lock.lock.base = Some(resolved.locked.clone());
        Ok(resolved)
    }

    /// Says so when a publisher's newest image is older than the one before.
    fn tell_older(&self, before: &LockedBase, now: &LockedBase) {
        if let (Some(old), Some(new)) = (&before.date, &now.date)
            && before.request == now.request
            && new < old
        {
            self.progress.warn(&format!(
                "the publisher's newest image is of {new}, older than the one before, of {old}: it was withdrawn, \
                 or somebody serves an old one"
            ));
        }
    }

    /// A base; `known` is what a lock file pins.
    pub fn resolve(&self, base: &Base, known: Option<&LockedBase>) -> Result<ResolvedBase> {
        match base {
            Base::Catalogue(_) | Base::Url { .. } => self.remote(base, known),
            Base::Path { path, .. } => self.local(base, path),
            Base::Bootstrap(bootstrap) => {
                let offline = self.options.offline;
                let force = self.options.update && !offline;
                let epoch = known.and_then(|it| it.source_date_epoch);
                let image = bootstrap::bootstrap(
                    bootstrap,
                    self.options.sandbox,
                    self.cache,
                    epoch,
                    force,
                    offline,
                    self.progress,
                )?;
                let origin = format!(
                    "Debian {} {}, bootstrapped from packages",
                    bootstrap.suite,
                    bootstrap.arch.name()
                );
                let verified = "packages verified by apt".to_owned();
                Ok(self.made(base, image, origin, verified))
            }
        }
    }

    fn remote(&self, base: &Base, known: Option<&LockedBase>) -> Result<ResolvedBase> {
        if let Some((image, provenance)) = self.cached(base, known)? {
            return self.fetched(base, image, provenance, known);
        }
        if self.options.offline {
            return Err(Error::failure(format!("the cache does not have `{}`", base.name()))
                .hint("without `--offline` it is fetched"));
        }
        self.progress.stage(&format!("looking for {}", base.name()));
        let client = Client::new()?;
        let inquiry = Inquiry {
            client: &client,
            catalogue: self.catalogue,
            directory: self.directory,
            progress: self.progress,
        };
        let remote = ask(&inquiry, base, known)?;
        let is_it = |it: &Provenance| it.is(&remote.hashes) && it.fits(&remote);
        let (image, mut provenance) = match self.find(is_it)? {
            Some(found) => found,
            None => self.fetch(&client, &remote)?,
        };
        // What only a lock file vouches for is good for its own cluster: others must ask.
        if known.is_none() || binding::is_signed(base, self.catalogue) {
            provenance = provenance.told_by(remote);
            provenance.requests.insert(self.asked(base)?);
            // A cache that cannot be written does no harm: the publisher is asked the next time.
            drop(image.describe(serde_json::json!({ "download": provenance })));
        }
        self.fetched(base, image, provenance, known)
    }

    /// A download that the cache has and that nothing else must vouch for: a lock file or the cluster
    /// file pins its hash, or, offline, it is what was asked for before. Where the cluster file or the
    /// catalogue wants a signature, it must have been verified.
    fn cached(
        &self,
        base: &Base,
        known: Option<&LockedBase>,
    ) -> Result<Option<(CachedImage, Provenance)>> {
        let mut hashes = binding::hashes(base, self.catalogue)?;
        if let Some(known) = known {
            hashes.merge(known.hashes(), BY_LOCK)?;
        }
        let is_pinned = !hashes.is_empty();
        match base {
            Base::Url { url, key, .. } if is_pinned => {
                let keys = key.as_deref().map(|key| self.fingerprints(key)).transpose()?;
                let found = self.find(|it| it.is(&hashes) && it.is_signed_by(keys.as_deref()))?;
                Ok(found.map(|(image, it)| {
                    let signer = it.signer.clone().filter(|_| keys.is_some());
                    let verified = remote::words(&hashes, BY_CLUSTER_FILE, signer.as_deref());
                    (image, Provenance { url: url.clone(), date: None, signer, verified, ..it })
                }))
            }
            Base::Catalogue(_) if known.is_some() => {
                let asked = binding::is_signed(base, self.catalogue).then(|| self.asked(base));
                let asked = asked.transpose()?;
                let is_vouched = |it: &Provenance| {
                    asked.as_ref().is_none_or(|it_is| it.requests.contains(it_is))
                };
                self.find(|it| it.is(&hashes) && is_vouched(it))
            }
            Base::Catalogue(_) | Base::Url { .. } | Base::Path { .. } | Base::Bootstrap(_) => {
                if !self.options.offline {
                    return Ok(None);
                }
                let asked = self.asked(base)?;
                self.find(|it| it.requests.contains(&asked))
            }
        }
    }

    /// What is asked for, and who must vouch for it: a key by its fingerprint, for a path or a name
    /// may stand for another one elsewhere.
    fn asked(&self, base: &Base) -> Result<String> {
        let request = request(base, self.directory);
        let by = match base {
            Base::Catalogue(name) => self.catalogue.entry(split(name).0)?.pins(),
            Base::Url { key: Some(key), .. } => self.fingerprints(key)?,
            Base::Url { key: None, .. } | Base::Path { .. } | Base::Bootstrap(_) => Vec::new(),
        };
        Ok(if by.is_empty() { request } else { format!("{request} by {}", by.join(" ")) })
    }

    fn fingerprints(&self, key: &str) -> Result<Vec<String>> {
        Ok(NamedKey::new(key, self.directory, self.catalogue)?.fingerprints())
    }

    fn fetch(&self, client: &Client, remote: &Remote) -> Result<(CachedImage, Provenance)> {
        let parts = self.cache.folder(PARTS)?;
        // The same bytes may be there, vouched for by somebody whose word is not enough here.
        let fits = |about: &About| Provenance::read(about).is_some_and(|it| it.fits(remote));
        let image = self.cache.image(BASES, &remote.key, fits, self.progress, |_, disk| {
            let name = remote.url.rsplit('/').next().unwrap_or(&remote.url);
            self.progress.stage(&format!("downloading {name}"));
            let wanted = Wanted {
                url: &remote.url,
                hashes: remote.hashes.clone(),
                verifier: remote.verifier.as_ref(),
                is_image: true,
                limit: remote.limit,
                key: &remote.key,
            };
            let delivered = download(client, &wanted, &parts, disk, self.progress)?;
            let provenance = Provenance {
                requests: BTreeSet::new(),
                url: remote.url.clone(),
                date: remote.date.clone(),
                size: delivered.size,
                sha256: delivered.hashes.sha256,
                sha512: delivered.hashes.sha512,
                signer: remote.verifier.as_ref().map(|it| it.fingerprint.clone()),
                verified: remote.verified.clone(),
            };
            let from = serde_json::json!({ "download": provenance });
            Ok(Made::here(from, Some(delivered.raw_sha256), Vec::new()))
        })?;
        let provenance = Provenance::read(&image.about)
            .ok_or_else(|| Error::failure("the cache does not know where the image came from"))?;
        Ok((image, provenance))
    }

    /// Of the downloads in the cache that fit, the newest release.
    fn find(
        &self,
        fits: impl Fn(&Provenance) -> bool,
    ) -> Result<Option<(CachedImage, Provenance)>> {
        let mut found = Vec::new();
        for key in self.cache.keys(BASES)? {
            let about = self.cache.peek(BASES, &key)?;
            let provenance = about.and_then(|it| Provenance::read(&it));
            found.extend(provenance.filter(|it| fits(it)).map(|it| (key, it)));
        }
        found.sort_by(|(_, one), (_, other)| one.date.cmp(&other.date));
        for (key, provenance) in found.into_iter().rev() {
            if let Some(image) = self.cache.find(BASES, &key)? {
                return Ok(Some((image, provenance)));
            }
        }
        Ok(None)
    }

    /// An image on this machine: used as it is when it is raw, else copied into the cache. An edit of it
    /// that was interrupted is finished first; a look at it reads through the edit's journal instead.
    fn local(&self, base: &Base, path: &Path) -> Result<ResolvedBase> {
        let has_pending_edit = edit::is_pending(path);
        if has_pending_edit && !self.cache.is_read_only() {
            edit::finish(path)?;
        }
        let as_input = |error: Error| Error::input(error.to_string());
        let (format, raw) = disk::open_bytes(path).map_err(as_input)?;
        let verified = "an image of your own".to_owned();
        let origin = path.display().to_string();
        let is_archive = format == Format::Raw && import::is_archive(path, raw.file())?;
        self.progress.stage("hashing the base");
        if format == Format::Raw && !is_archive {
            disk::check_sectors(path, &raw)?;
            let is_changing = has_pending_edit && self.cache.is_read_only();
            return self.raw(base, path, raw, is_changing);
        }
        let (hash, source) = if format.is_compressed() || is_archive {
            (cache::sha256_of(path, &raw, self.cache)?, None)
        } else {
            // It may have a backing chain: only what a reader sees tells whether it is the same.
            let source = disk::open(path)?;
            (sha256_of_disk(&*source)?, Some(source))
        };
        let key = hash.to_string();
        let fits = |_: &About| true;
        let image = self.cache.image(BASES, &key, fits, self.progress, |_, output| {
            self.progress.stage("unpacking the base");
            let sha256 = match &source {
                Some(source) => {
                    drop(File::create_new(output)?);
                    container::copy(&**source, output)?
                }
                None => import::compressed(path, output, hash)?,
            };
            let format = if is_archive { "tar" } else { format.name() };
            let from = serde_json::json!({ "file": path, "format": format, "key": key });
            Ok(Made::here(from, Some(sha256), Vec::new()))
        })?;
        Ok(self.made(base, image, origin, verified))
    }

    /// A raw image on this machine; `is_changing` while an edit of it has something left to do.
    fn raw(&self, base: &Base, path: &Path, raw: Raw, is_changing: bool) -> Result<ResolvedBase> {
        let raw = Arc::new(raw);
        let (disk, sha256): (Arc<dyn Disk>, _) = if is_changing {
            let disk = edit::open_to_read(path, &[])?;
            let sha256 = sha256_of_disk(&*disk)?;
            (disk, sha256)
        } else {
            (raw.clone(), cache::sha256_of(path, &raw, self.cache)?)
        };
        let verified = "an image of your own".to_owned();
        let request = request(base, self.directory);
        let locked = LockedBase::of_image(request, disk.size(), sha256, &verified);
        Ok(ResolvedBase {
            path: path.to_owned(),
            raw: Some(raw),
            disk,
            sha256,
            origin: path.display().to_string(),
            verified,
            locked,
            was_cached: true,
            arch: OnceCell::new(),
            image: None,
        })
    }

    /// A download, as a lock file has it where one pins it.
    fn fetched(
        &self,
        base: &Base,
        image: CachedImage,
        from: Provenance,
        known: Option<&LockedBase>,
    ) -> Result<ResolvedBase> {
        let mut verified = from.verified.clone();
        let mut from = from;
        if let Some(known) = known {
            verified = binding::words(base, self.catalogue, known, &from)?;
            from = from.told_by_lock(known);
        }
        let origin = match &from.date {
            Some(date) => format!("{} of {date}", from.url),
            None => from.url.clone(),
        };
        let locked = LockedBase {
            request: request(base, self.directory),
            url: Some(from.url),
            date: from.date,
            size: Some(from.size),
            sha256: Some(from.sha256),
            sha512: from.sha512,
            raw_size: image.about.size,
            raw_sha256: image.about.sha256,
            source_date_epoch: None,
            signer: from.signer,
            verified: from.verified,
        };
        Ok(ResolvedBase::cached(image, origin, verified, locked))
    }

    fn made(
        &self,
        base: &Base,
        image: CachedImage,
        origin: String,
        verified: String,
    ) -> ResolvedBase {
        let (size, sha256) = (image.about.size, image.about.sha256);
        let request = request(base, self.directory);
        let locked = LockedBase {
            source_date_epoch: image.about.from[EPOCH].as_i64(),
            ..LockedBase::of_image(request, size, sha256, &verified)
        };
        ResolvedBase::cached(image, origin, verified, locked)
    }
}

/// Asks about a base, of which a lock file may say more.
fn ask(inquiry: &Inquiry<'_>, base: &Base, known: Option<&LockedBase>) -> Result<Remote> {
    match base {
        Base::Url { url, sha256, sha512, signature, key, .. } => {
            let hashes = Hashes { sha256: *sha256, sha512: sha512.clone() };
            let signature = signature.as_deref().zip(key.as_deref());
            let by = BY_CLUSTER_FILE;
            let mut remote = inquiry.pinned(&Pinned { url, hashes, signature, by })?;
            if let Some(known) = known {
                remote.add(known)?;
            }
            Ok(remote)
        }
        Base::Catalogue(name) => {
            let (name, date) = split(name);
            match known {
                Some(known) => inquiry.locked(name, date, known),
                None => inquiry.named(name, date),
            }
        }
        Base::Path { .. } | Base::Bootstrap(_) => {
            Err(Error::failure(format!("{} is not downloaded", base.name())))
        }
    }
}
