//! `nodeforge.lock`: what a cluster's inputs were found to be, beside its cluster file.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::locked_prepared::RegistryPins;
use crate::cache::Package;
use crate::change::{Action, Change};
use crate::download::Hashes;
use crate::util::calendar;
use crate::util::error::{Context as _, Error, Result};
use crate::util::file_lock::FileLock;
use crate::util::new_files;
use crate::util::sha256::Sha256;

const NAME: &str = "nodeforge.lock";
const VERSION: u32 = 1;
const HEADER: &str = "# Written by nodeforge: what this cluster's inputs are. Keep it with the cluster file.\n\
                      # `nodeforge lock --update` moves on to the newest.\n\n";

/// A lock file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lock {
    version: u32,
    /// What the packages below were installed for: a hash of base, repositories and wishes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub packages_for: Option<Sha256>,
    /// Whether `lock --update` gave up the packages below: the next that are installed are the
    /// newest, even where the cache has the base prepared.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub newest_packages: bool,
    /// The base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<LockedBase>,
    /// The keys of apt sources.
    #[serde(rename = "key", skip_serializing_if = "Vec::is_empty", default)]
    pub keys: Vec<LockedKey>,
    /// Files from elsewhere.
    #[serde(rename = "artifact", skip_serializing_if = "Vec::is_empty", default)]
    pub artifacts: Vec<LockedArtifact>,
    /// Container images that nodes bring along.
    #[serde(rename = "image", skip_serializing_if = "Vec::is_empty", default)]
    pub images: Vec<LockedImage>,
    /// The files that they were put into.
    #[serde(rename = "image_archive", skip_serializing_if = "Vec::is_empty", default)]
    pub image_archives: Vec<LockedImageArchive>,
    /// The packages that preparing installed.
    #[serde(rename = "package", skip_serializing_if = "Vec::is_empty", default)]
    pub packages: Vec<Package>,
    /// The same of prepared bases that have packages which only some nodes have.
    #[serde(rename = "variant", skip_serializing_if = "Vec::is_empty", default)]
    pub variants: Vec<LockedVariant>,
    /// Prepared bases in registries, each under the key that it has in the cache.
    #[serde(skip_serializing_if = "RegistryPins::is_empty", default)]
    pub registry: RegistryPins,
    /// What later versions of nodeforge pin stays.
    #[serde(flatten)]
    rest: toml::Table,
}

/// Packages of a prepared base that has some which only some nodes have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedVariant {
    /// Those, sorted.
    pub own: Vec<String>,
    /// As in [`Lock`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub packages_for: Option<Sha256>,
    /// As in [`Lock`].
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub newest_packages: bool,
    /// As in [`Lock`].
    #[serde(rename = "package", skip_serializing_if = "Vec::is_empty", default)]
    pub packages: Vec<Package>,
}

/// Packages that were installed into one prepared base.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackagePins {
    /// What they were installed for.
    pub purpose: Option<Sha256>,
    /// Whether they were given up for the newest.
    pub newest: bool,
    /// The packages.
    pub packages: Vec<Package>,
}

/// What a base was found to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedBase {
    /// What the cluster file asked for: `image debian-13-generic-arm64`.
    pub request: String,
    /// Where it came from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub url: Option<String>,
    /// Its publisher's name for the release: `20251117-2299`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub date: Option<String>,
    /// Length of the download in bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub size: Option<u64>,
    /// SHA-256 of the download.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<Sha256>,
    /// SHA-512 of the download, where its publisher lists that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha512: Option<String>,
    /// Length of the raw image in bytes.
    pub raw_size: u64,
    /// SHA-256 of the raw image.
    pub raw_sha256: Sha256,
    /// As of when it was made from packages, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_date_epoch: Option<i64>,
    /// Fingerprint of the key that signed it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signer: Option<String>,
    /// What verified it when it was locked.
    pub verified: String,
}

/// The key of an apt source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedKey {
    /// Where it came from.
    pub url: String,
    /// 40 hexadecimal digits.
    pub fingerprint: String,
    /// SHA-256 of the key as the image has it: armored, and no other with it.
    pub sha256: Sha256,
    /// The day on which it expires, `2027-01-31`; nothing when it never does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires: Option<String>,
}

/// A file from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedArtifact {
    /// Where it came from.
    pub url: String,
    /// Of its bytes.
    pub sha256: Sha256,
    /// What named that hash.
    pub verified: String,
}

/// A container image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedImage {
    /// Whole: `docker.io/library/busybox:1.37`.
    pub reference: String,
    /// Of its manifest, or its index of several processors' manifests: `sha256:…`.
    pub digest: String,
}

/// A file of container images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedImageArchive {
    /// Where nodes have it.
    pub path: String,
    /// What it was made of: a hash of the images' digests and the processor.
    pub of: Sha256,
    /// Of its bytes.
    pub sha256: Sha256,
}

impl LockedBase {
    /// What is pinned of an image that was not downloaded: `raw_size` bytes with that hash.
    pub(super) fn of_image(
        request: String,
        raw_size: u64,
        raw_sha256: Sha256,
        verified: &str,
    ) -> Self {
        Self {
            request,
            url: None,
            date: None,
            size: None,
            sha256: None,
            sha512: None,
            raw_size,
            raw_sha256,
            source_date_epoch: None,
            signer: None,
            verified: verified.to_owned(),
        }
    }

    /// What the download must be.
    pub(crate) fn hashes(&self) -> Hashes {
        Hashes { sha256: self.sha256, sha512: self.sha512.clone() }
    }
}

impl Default for Lock {
    fn default() -> Self {
        Self {
            version: VERSION,
            base: None,
            keys: Vec::new(),
            artifacts: Vec::new(),
            images: Vec::new(),
            image_archives: Vec::new(),
            packages_for: None,
            newest_packages: false,
            packages: Vec::new(),
            variants: Vec::new(),
            registry: RegistryPins::default(),
            rest: toml::Table::new(),
        }
    }
}

/// A cluster's lock file: read once, and written when something was found out.
#[derive(Clone, Debug)]
pub struct LockFile {
    path: PathBuf,
    /// As it was read, or last written.
    before: Lock,
    /// What is known by now.
    pub lock: Lock,
}

impl LockFile {
    /// Reads the lock of the cluster file in this folder; an empty one when there is none.
    pub fn open(directory: &Path) -> Result<Self> {
        let path = directory.join(NAME);
        let lock = Lock::load(&path)?;
        Ok(Self { path, before: lock.clone(), lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether something was found out that is not written yet.
    pub fn is_changed(&self) -> bool {
        self.lock != self.before
    }

    /// Writes what was found out since it was read: nothing else, and nothing that another nodeforge
    /// found out or gave up meanwhile.
    pub fn save(&mut self) -> Result<()> {
        if self.is_changed() {
            self.lock.save_changes(&self.before, &self.path)?;
            self.before = self.lock.clone();
        }
        Ok(())
    }

    /// The error of a `--locked` run for which the lock file would have to change.
    pub fn would_change(&self, why: &str) -> Error {
        Error::input(format!("`{}` would change: {why}", self.path.display()))
            .hint("run it without `--locked`, or `nodeforge lock`, and look at the difference")
    }

    /// The error of a lock file that says anything else than what binds it.
    pub(super) fn contradicts(&self, why: &str) -> Error {
        Error::input(format!("`{}` cannot be used: {why}", self.path.display()))
            .hint("find out who changed it; `nodeforge lock --update` pins anew")
    }

    /// Fails when a key that it pins for one of the apt sources among `changes` has expired: apt
    /// would refuse what that signed.
    pub fn check(&self, changes: &[Change]) -> Result<()> {
        self.lock.check(&self.path, changes)
    }

    /// What to tell of keys that it pins for the apt sources among `changes` and that expire soon.
    pub fn expiring(&self, changes: &[Change]) -> Vec<String> {
        const SOON: i64 = 60;
        let today = calendar::today();
        let mut told = Vec::new();
        for (name, key) in self.lock.keys_of(changes) {
            let Some(day) = &key.expires else { continue };
            if calendar::days_between(&today, day).is_some_and(|days| (0..=SOON).contains(&days)) {
                told.push(format!(
                    "the key {} of the apt source `{name}` expires on {day}: `nodeforge lock --update` \
                     pins its successor once `{}` has one",
                    key.fingerprint, key.url
                ));
            }
        }
        told
    }
}

/// What helps where an address has only an expired key; a new lock file does not.
pub(super) const OTHER_KEY: &str = "where that has expired too, give the address of the key that signs now: \
     `key_url` of the `[[apt_source]]`, or the setting that it is taken from";

impl Lock {
    /// The packages of the prepared base with these packages which only some nodes have; without any, of the main one.
    pub fn pins(&self, own: &[String]) -> PackagePins {
        if own.is_empty() {
            let packages = self.packages.clone();
            return PackagePins {
                purpose: self.packages_for,
                newest: self.newest_packages,
                packages,
            };
        }
        let found = self.variants.iter().find(|it| it.own == own);
        found.map_or_else(PackagePins::default, |it| PackagePins {
            purpose: it.packages_for,
            newest: it.newest_packages,
            packages: it.packages.clone(),
        })
    }

    /// Pins them.
    pub fn pin(&mut self, own: &[String], pins: PackagePins) {
        let PackagePins { purpose, newest, packages } = pins;
        if own.is_empty() {
            (self.packages_for, self.newest_packages, self.packages) = (purpose, newest, packages);
            return;
        }
        let variant = LockedVariant {
            own: own.to_vec(),
            packages_for: purpose,
            newest_packages: newest,
            packages,
        };
        match self.variants.iter_mut().find(|it| it.own == own) {
            Some(known) => *known = variant,
            None => self.variants.push(variant),
        }
        self.variants.sort_by(|one, other| one.own.cmp(&other.own));
    }

    /// What it says of one prepared base: nothing of packages of others, nor where it can be had from.
    #[must_use]
    pub fn of_base(&self, own: &[String]) -> Self {
        let mut lock = self.clone();
        lock.variants.clear();
        lock.registry = RegistryPins::default();
        lock.pin(&[], self.pins(own));
        lock
    }

    /// Reads it; an empty one when there is none.
    fn load(path: &Path) -> Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error).context(|| format!("reading `{}`", path.display())),
        };
        let wrong = |what: String| {
            Error::input(what).context(format!("`{}` cannot be read", path.display())).hint(
                "restore it from version control, or remove it: the next build writes it again",
            )
        };
        let lock: Self = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            wrong(format!("line {line}: {}", error.message()))
        })?;
        if lock.version != VERSION {
            return Err(wrong(format!("it is of version {}, known is {VERSION}", lock.version)));
        }
        Ok(lock)
    }

    /// Fails when a key that it pins for one of the apt sources among `changes` has expired: apt
    /// would refuse what that signed.
    fn check(&self, path: &Path, changes: &[Change]) -> Result<()> {
        let today = calendar::today();
        for (name, key) in self.keys_of(changes) {
            // Dates written so compare as texts do.
            if let Some(day) = key.expires.as_ref().filter(|day| **day < today) {
                return Err(Error::input(format!(
                    "`{}` is out of date: the key {} of the apt source `{name}` expired on {day}",
                    path.display(),
                    key.fingerprint
                ))
                .hint(format!("`nodeforge lock --update` pins what `{}` has now", key.url))
                .hint(OTHER_KEY));
            }
        }
        Ok(())
    }

    /// The apt sources among `changes` and the keys that are pinned for them.
    fn keys_of<'a>(
        &'a self,
        changes: &'a [Change],
    ) -> impl Iterator<Item = (&'a str, &'a LockedKey)> {
        changes.iter().filter_map(|change| {
            let Action::AptSource { name, key_url, .. } = &change.action else { return None };
            Some((name.as_str(), self.keys.iter().find(|it| it.url == *key_url)?))
        })
    }

    /// Writes what was found out since it was read as `before`: nothing else, and nothing that
    /// another nodeforge found out or gave up meanwhile.
    fn save_changes(&self, before: &Self, path: &Path) -> Result<()> {
        loop {
            let held = HeldFile::new(path)?;
            let now = Self::load(path)?;
            let new = self.merged(before, &now);
            if new == now || new.save(path, matches!(held, HeldFile::Missing))? {
                return Ok(());
            }
        }
    }

    /// What is there `now`, with what was found out since `before`.
    fn merged(&self, before: &Self, now: &Self) -> Self {
        let packages = |it: &Self| (it.packages_for, it.newest_packages, it.packages.clone());
        let mut new = now.clone();
        if now.base == before.base {
            new.base.clone_from(&self.base);
        }
        if now.keys == before.keys {
            new.keys.clone_from(&self.keys);
        }
        if now.artifacts == before.artifacts {
            new.artifacts.clone_from(&self.artifacts);
        }
        let images = |it: &Self| (it.images.clone(), it.image_archives.clone());
        if images(now) == images(before) {
            (new.images, new.image_archives) = images(self);
        }
        if packages(now) == packages(before) {
            (new.packages_for, new.newest_packages, new.packages) = packages(self);
        }
        new.registry = RegistryPins::merged([&self.registry, &before.registry, &now.registry]);
        // Each of the bases for itself: another build may have pinned another.
        let all = [self, before, now].map(|it| it.variants.iter().map(|variant| &variant.own));
        let all: BTreeSet<_> = all.into_iter().flatten().collect();
        let variants = all.into_iter().filter_map(|own| {
            let of = |it: &Self| it.variants.iter().find(|variant| variant.own == *own).cloned();
            if of(now) == of(before) { of(self) } else { of(now) }
        });
        new.variants = variants.collect();
        new
    }

    /// Writes it, whole or not at all. With `is_new`, only where there is none yet: `false` says that there is.
    fn save(&self, path: &Path, is_new: bool) -> Result<bool> {
        let text = toml::to_string(self).map_err(|error| Error::failure(error.to_string()))?;
        let save = || {
            let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
            let mut file = tempfile::Builder::new()
                .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
                .tempfile_in(folder.unwrap_or(Path::new(".")))?;
            file.write_all(HEADER.as_bytes())?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            new_files::give_in_place_of(file.as_file(), path);
            let written = if is_new { file.persist_noclobber(path) } else { file.persist(path) };
            match written {
                Ok(_) => Ok(true),
                Err(error) if is_new && error.error.kind() == io::ErrorKind::AlreadyExists => {
                    Ok(false)
                }
                Err(error) => Err(error.error),
            }
        };
        save().context(|| format!("writing `{}`", path.display()))
    }
}

/// Holds other nodeforges off a lock file until dropped.
///
/// The file itself is locked, so that nothing stays behind. As it is replaced by renaming, whoever waited looks
/// whether it still is the one.
enum HeldFile {
    /// There is none yet.
    Missing,
    /// It is there; locked, where its file system can do that.
    Present { _lock: Option<FileLock> },
}

impl HeldFile {
    fn new(path: &Path) -> Result<Self> {
        let context = || format!("locking `{}`", path.display());
        loop {
            let file = match File::open(path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Missing),
                Err(error) => return Err(error).context(context),
            };
            let opened = file.metadata().context(context)?;
            let lock = FileLock::exclusive(file).ok();
            let is_same = fs::metadata(path)
                .is_ok_and(|it| (it.dev(), it.ino()) == (opened.dev(), opened.ino()));
            if is_same {
                return Ok(Self::Present { _lock: lock });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_comes_back_with_what_it_does_not_know() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        assert_eq!(Lock::load(&path).unwrap(), Lock::default());
        let text = "version = 1\n\n[packages]\ncurl = \"8.14\"\n";
        fs::write(&path, text).unwrap();
        let mut lock = Lock::load(&path).unwrap();
        lock.base = Some(LockedBase {
            request: "path base.img".into(),
            url: None,
            date: None,
            size: None,
            sha256: None,
            sha512: None,
            raw_size: 512,
            raw_sha256: Sha256::of(""),
            source_date_epoch: None,
            signer: None,
            verified: "nothing".into(),
        });
        assert!(lock.save(&path, false).unwrap());
        assert_eq!(Lock::load(&path).unwrap(), lock);
        assert!(fs::read_to_string(&path).unwrap().contains("curl = \"8.14\""));
    }

    /// Builds of nodes with different packages, at once: each pins its base, whoever writes last.
    #[test]
    fn what_several_find_out_at_once_is_all_written() {
        let folder = tempfile::tempdir().unwrap();
        let package = |name: &str| Package {
            name: name.into(),
            version: "1".into(),
            architecture: "amd64".into(),
            sha256: None,
        };
        let names: Vec<_> = (0..8).map(|number| format!("package{number}")).collect();
        std::thread::scope(|scope| {
            for name in &names {
                let mut file = LockFile::open(folder.path()).unwrap();
                let packages = vec![package(name)];
                file.lock.pin(
                    std::slice::from_ref(name),
                    PackagePins { purpose: Some(Sha256::of(name)), newest: false, packages },
                );
                scope.spawn(move || file.save().unwrap());
            }
        });
        let mut file = LockFile::open(folder.path()).unwrap();
        let found: Vec<_> = file.lock.variants.iter().map(|it| it.own[0].clone()).collect();
        assert_eq!(found, names);
        // What another gave up meanwhile stays given up, and its own is not taken for that.
        let mut other = LockFile::open(folder.path()).unwrap();
        other.lock.pin(&names[..1], PackagePins { newest: true, ..PackagePins::default() });
        other.save().unwrap();
        file.lock.pin(
            &names[..1],
            PackagePins { packages: vec![package("a")], ..PackagePins::default() },
        );
        file.lock.pin(
            &names[1..2],
            PackagePins { packages: vec![package("b")], ..PackagePins::default() },
        );
        file.save().unwrap();
        let now = LockFile::open(folder.path()).unwrap().lock;
        assert!(now.pins(&names[..1]).newest && now.pins(&names[..1]).packages.is_empty());
        assert_eq!(now.pins(&names[1..2]).packages, [package("b")]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing stays behind");
    }

    #[test]
    fn what_is_wrong_with_a_lock_is_said_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        fs::write(&path, "version = 1\nbase = 2\n").unwrap();
        let error = Lock::load(&path).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
        fs::write(&path, "version = 9\n").unwrap();
        let error = Lock::load(&path).unwrap_err().to_string();
        assert!(error.contains("version 9"), "{error}");
    }
}
