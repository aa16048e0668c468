//! One door for every base: from the catalogue, an address, this machine, or packages.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::catalogue::Catalogue;
use super::lock_file::{Lock, LockedBase};
use super::provenance::Provenance;
use super::remote::{BY_LOCK, Inquiry, NamedKey, Pinned, Remote};
use crate::base::{import, remote};
use crate::cache::{self, About, Cache, CachedImage, Made};
use crate::config::Base;
use crate::disk::{self, Format};
use crate::download::{Client, Hashes, Wanted, download};
use crate::util::error::{Error, Result};
use crate::util::progress::Progress;
use crate::util::sha256::Sha256;

/// Where bases are in the cache.
pub(crate) const BASES: &str = "bases";
/// What the cache knows of a base made from packages: as of when, in seconds since 1970.
pub(crate) const EPOCH: &str = "source_date_epoch";
/// Where what is not whole yet is in the cache.
pub(crate) const PARTS: &str = "downloads";

/// How the network and the lock file may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Nothing is fetched: the cache has it, or it fails.
    pub offline: bool,
    /// The lock file must be there and stay as it is.
    pub locked: bool,
    /// What the lock file pins is looked up anew.
    pub update: bool,
}

/// What every base needs to be obtained.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// Images that are there already, and new ones.
    pub cache: &'a Cache,
    /// Images by name.
    pub catalogue: &'a Catalogue,
    /// What relative paths start from: the cluster file's folder.
    pub directory: &'a Path,
    /// How the network and the lock file may be used.
    pub options: Options,
    /// Whoever shows what is going on.
    pub progress: &'a dyn Progress,
}

/// A base as a raw image.
#[derive(Clone, Debug)]
pub struct Obtained {
    /// The raw image; in the cache, unless it is the user's own raw file.
    pub path: PathBuf,
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
    /// Keeps it from being pruned.
    _image: Option<CachedImage>,
}

impl Source<'_> {
    /// The base of a cluster, as its lock file pins it. The lock file is written when it is
    /// missing, or when the cluster file asks for another base than it did.
    pub fn obtain_locked(&self, base: &Base) -> Result<Obtained> {
        let path = Lock::path(self.directory);
        let before = Lock::load(&path)?;
        let request = request(base, self.directory);
        let known = before.base.as_ref().filter(|it| it.request == request);
        if self.options.locked && known.is_none() {
            return Err(would_change(&path, "it does not pin the base"));
        }
        let obtained = self.obtain(base, known.filter(|_| !self.options.update))?;
        let is_same = known.is_some_and(|known| {
            known.raw_sha256 == obtained.sha256 && known.url == obtained.locked.url
        });
        if is_same {
            return Ok(obtained);
        }
        if self.options.locked {
            return Err(would_change(&path, "the base is another one"));
        }
        if known.is_some() && !self.options.update {
            self.progress.warn("the base is another one than before: the lock file follows");
        }
        let mut lock = before.clone();
        lock.base = Some(obtained.locked.clone());
        lock.save_changes(&before, &path)?;
        Ok(obtained)
    }

    /// A base; `known` is what a lock file pins.
    pub fn obtain(&self, base: &Base, known: Option<&LockedBase>) -> Result<Obtained> {
        match base {
            Base::Catalogue(_) | Base::Url { .. } => self.remote(base, known),
            Base::Path { path, .. } => self.local(base, path),
            #[cfg(target_os = "linux")]
            Base::Bootstrap(bootstrap) => {
                let offline = self.options.offline;
                let anew = self.options.update && !offline;
                let epoch = known.and_then(|it| it.source_date_epoch);
                let image = crate::bootstrap::bootstrap(
                    bootstrap,
                    self.cache,
                    epoch,
                    anew,
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
            #[cfg(not(target_os = "linux"))]
            Base::Bootstrap(_) => Err(Error::failure("a base can be bootstrapped on Linux only")
                .hint("bootstrap it there, and name the image as `path` under [base]")),
        }
    }

    fn remote(&self, base: &Base, known: Option<&LockedBase>) -> Result<Obtained> {
        let request = request(base, self.directory);
        // A lock that lost its address or its hashes pins nothing.
        let known = known.filter(|it| it.url.is_some() && !it.hashes().is_empty());
        if let Some((image, provenance)) = self.cached(base, known)? {
            return Ok(fetched(request, image, &provenance, known));
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
        let (image, provenance) = match self.find(is_it) {
            Some(found) => found,
            None => self.fetch(&client, &remote)?,
        };
        if let Some(known) = known {
            return Ok(fetched(request, image, &provenance.told_by_lock(known), Some(known)));
        }
        let mut provenance = provenance.told_by(remote);
        provenance.requests.insert(self.asked(base)?);
        // A cache that cannot be written is no obstacle: the publisher is asked the next time.
        drop(image.describe(serde_json::json!({ "download": provenance })));
        Ok(fetched(request, image, &provenance, None))
    }

    /// A download that the cache has and that needs nobody's word: a lock file or the cluster file
    /// pins its hash, or, offline, it is what was asked for before. A lock file is enough by itself;
    /// where the cluster file wants a signature, it must have been verified.
    fn cached(
        &self,
        base: &Base,
        known: Option<&LockedBase>,
    ) -> Result<Option<(CachedImage, Provenance)>> {
        if let Some(known) = known {
            let hashes = known.hashes();
            let found = self.find(|it| it.is(&hashes));
            return Ok(found.map(|(image, it)| (image, it.told_by_lock(known))));
        }
        if let Base::Url { url, sha256, sha512, key, .. } = base
            && (sha256.is_some() || sha512.is_some())
        {
            let hashes = Hashes { sha256: *sha256, sha512: sha512.clone() };
            let keys = key.as_deref().map(|key| self.fingerprints(key)).transpose()?;
            let found = self.find(|it| it.is(&hashes) && it.is_signed_by(keys.as_deref()));
            return Ok(found.map(|(image, it)| {
                let signer = it.signer.clone().filter(|_| keys.is_some());
                let verified = remote::words(&hashes, "the cluster file", signer.as_deref());
                (image, Provenance { url: url.clone(), date: None, signer, verified, ..it })
            }));
        }
        if !self.options.offline {
            return Ok(None);
        }
        let asked = self.asked(base)?;
        Ok(self.find(|it| it.requests.contains(&asked)))
    }

    /// What is asked for, and who must vouch for it: a key by its fingerprint, for a path or a name
    /// may stand for another one elsewhere.
    fn asked(&self, base: &Base) -> Result<String> {
        let request = request(base, self.directory);
        let by = match base {
            Base::Catalogue(name) => self.catalogue.entry(split(name).0)?.pins(),
            Base::Url { key: Some(key), .. } => self.fingerprints(key)?,
            _ => Vec::new(),
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
            Ok(Made { from, sha256: Some(delivered.raw_sha256), packages: Vec::new() })
        })?;
        let provenance = Provenance::read(&image.about)
            .ok_or_else(|| Error::failure("the cache does not know where the image came from"))?;
        Ok((image, provenance))
    }

    /// Of the downloads in the cache that fit, the newest release.
    fn find(&self, fits: impl Fn(&Provenance) -> bool) -> Option<(CachedImage, Provenance)> {
        let mut found: Vec<_> = self
            .cache
            .keys(BASES)
            .into_iter()
            .filter_map(|key| {
                let provenance = Provenance::read(&self.cache.peek(BASES, &key)?)?;
                fits(&provenance).then_some((key, provenance))
            })
            .collect();
        found.sort_by(|(_, one), (_, other)| one.date.cmp(&other.date));
        found
            .into_iter()
            .rev()
            .find_map(|(key, provenance)| Some((self.cache.find(BASES, &key)?, provenance)))
    }

    /// An image on this machine: used as it is when it is raw, else copied into the cache.
    fn local(&self, base: &Base, path: &Path) -> Result<Obtained> {
        let as_input = |error: Error| Error::input(error.to_string());
        let format = disk::probe(path).map_err(as_input)?;
        let is_archive = format == Format::Raw && import::is_archive(path)?;
        let origin = path.display().to_string();
        let verified = "an image of your own".to_owned();
        if format == Format::Raw && !is_archive {
            // Says what is wrong with a file that is no disk.
            let disk = disk::open(path)?;
            self.progress.stage("hashing the base");
            let sha256 = cache::sha256_of(path, self.cache)?;
            let locked = LockedBase {
                request: request(base, self.directory),
                url: None,
                date: None,
                size: None,
                sha256: None,
                sha512: None,
                raw_size: disk.size(),
                raw_sha256: sha256,
                source_date_epoch: None,
                signer: None,
                verified: verified.clone(),
            };
            let path = path.to_owned();
            return Ok(Obtained {
                path,
                sha256,
                origin,
                verified,
                locked,
                was_cached: true,
                _image: None,
            });
        }
        self.progress.stage("hashing the base");
        let (hash, source) = if format.is_compressed() || is_archive {
            (cache::sha256_of(path, self.cache)?, None)
        } else {
            // It may lie on others: only what a reader sees tells whether it is the same.
            let source = disk::open(path)?;
            (crate::util::hash::sha256_of_disk(&*source)?, Some(source))
        };
        let key = hash.to_string();
        let fits = |_: &About| true;
        let image = self.cache.image(BASES, &key, fits, self.progress, |_, output| {
            self.progress.stage("unpacking the base");
            let sha256 = match &source {
                Some(source) => {
                    drop(std::fs::File::create_new(output)?);
                    import::copy(&**source, output)?
                }
                None => import::compressed(path, output, hash)?,
            };
            let format = if is_archive { "tar" } else { format.name() };
            let from = serde_json::json!({ "file": path, "format": format, "key": key });
            Ok(Made { from, sha256: Some(sha256), packages: Vec::new() })
        })?;
        Ok(self.made(base, image, origin, verified))
    }

    fn made(&self, base: &Base, image: CachedImage, origin: String, verified: String) -> Obtained {
        let locked = LockedBase {
            request: request(base, self.directory),
            url: None,
            date: None,
            size: None,
            sha256: None,
            sha512: None,
            raw_size: image.about.size,
            raw_sha256: image.about.sha256,
            source_date_epoch: image.about.from[EPOCH].as_i64(),
            signer: None,
            verified: verified.clone(),
        };
        Obtained {
            path: image.path.clone(),
            sha256: image.about.sha256,
            origin,
            verified,
            locked,
            was_cached: image.was_cached,
            _image: Some(image),
        }
    }
}

/// Asks about a base, which a lock file may have pinned.
fn ask(inquiry: &Inquiry<'_>, base: &Base, known: Option<&LockedBase>) -> Result<Remote> {
    if let Some(known) = known
        && let Some(url) = &known.url
    {
        let hashes = known.hashes();
        let mut remote = inquiry.pinned(&Pinned { url, hashes, signature: None, by: BY_LOCK })?;
        remote.date.clone_from(&known.date);
        return Ok(remote);
    }
    match base {
        Base::Url { url, sha256, sha512, signature, key, .. } => {
            let hashes = Hashes { sha256: *sha256, sha512: sha512.clone() };
            let signature = signature.as_deref().zip(key.as_deref());
            inquiry.pinned(&Pinned { url, hashes, signature, by: "the cluster file" })
        }
        Base::Catalogue(name) => {
            let (name, date) = split(name);
            inquiry.named(name, date)
        }
        Base::Path { .. } | Base::Bootstrap(_) => {
            Err(Error::failure(format!("{} is not elsewhere", base.name())))
        }
    }
}

/// An image's name in the catalogue, and its date where one is named: `NAME@DATE`.
fn split(name: &str) -> (&str, Option<&str>) {
    name.split_once('@').map_or((name, None), |(name, date)| (name, Some(date)))
}

fn fetched(
    request: String,
    image: CachedImage,
    from: &Provenance,
    known: Option<&LockedBase>,
) -> Obtained {
    let verified = match known {
        // Whatever verified it when it was locked: now it is the lock that does.
        Some(known) => remote::words(&known.hashes(), BY_LOCK, None),
        None => from.verified.clone(),
    };
    let origin = match &from.date {
        Some(date) => format!("{} of {date}", from.url),
        None => from.url.clone(),
    };
    let locked = LockedBase {
        request,
        url: Some(from.url.clone()),
        date: from.date.clone(),
        size: Some(from.size),
        sha256: Some(from.sha256),
        sha512: from.sha512.clone(),
        raw_size: image.about.size,
        raw_sha256: image.about.sha256,
        source_date_epoch: None,
        signer: from.signer.clone(),
        verified: from.verified.clone(),
    };
    Obtained {
        path: image.path.clone(),
        sha256: image.about.sha256,
        origin,
        verified,
        locked,
        was_cached: image.was_cached,
        _image: Some(image),
    }
}

/// What a cluster file asks for, in one line that changes when it asks for another base.
pub fn request(base: &Base, directory: &Path) -> String {
    match base {
        Base::Catalogue(name) => format!("image {name}"),
        Base::Path { path, .. } => {
            let path = path.strip_prefix(directory).unwrap_or(path);
            format!("path {}", path.display())
        }
        Base::Url { url, sha256, sha512, signature, key, .. } => {
            let sha256 = &sha256.as_ref().map(Sha256::to_string);
            let pins =
                [("sha256", sha256), ("sha512", sha512), ("signature", signature), ("key", key)];
            let pins =
                pins.into_iter().filter_map(|(name, it)| Some(format!(" {name} {}", it.as_ref()?)));
            format!("url {url}{}", pins.collect::<String>())
        }
        Base::Bootstrap(it) => {
            let mirror = it.mirror.as_ref().map_or_else(String::new, |it| format!(" from {it}"));
            format!("bootstrap {} {} {:?}{mirror}", it.suite, it.arch.name(), it.layout)
        }
    }
}

pub(crate) fn would_change(path: &Path, why: &str) -> Error {
    Error::input(format!("`{}` would change: {why}", path.display()))
        .hint("run it without `--locked`, or `nodeforge lock`, and look at the difference")
}
