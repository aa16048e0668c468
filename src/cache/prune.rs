//! Looking after the cache: what is in it, what may go, what is damaged.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::about::About;
use super::blobs::{Blob, FILES};
use super::leftovers::{remove, sweep};
use super::store::{ABOUT, BASES, Cache, DISK, NEW, PARTS, PREPARED, is_sound, try_lock};
use super::trust;
use crate::disk::Raw;
use crate::util::error::{Context as _, Error, Result};
use crate::util::file_lock::FileLock;
use crate::util::interrupt;
use crate::util::progress::Progress;

/// Folders of images.
const IMAGES: [&str; 2] = [BASES, PREPARED];

/// An image in the cache, or a single file.
#[derive(Clone, Debug)]
pub struct Kept {
    /// `bases`, `prepared`; `files`, `keys`, `debs`
    pub kind: String,
    /// The hash of everything an image was made of; a file's name.
    pub key: String,
    /// What is known of an image; `None` when it is damaged, and for single files.
    pub about: Option<About>,
    /// Bytes it takes on the disk.
    pub occupied: u64,
    /// When it was last used.
    pub used: SystemTime,
    path: PathBuf,
    blob: Option<Blob>,
    /// Why it is not known whether an image is damaged.
    trouble: Option<Error>,
}

/// What may stay in the cache. Nothing set means all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// What was not used for longer goes.
    pub age: Option<Duration>,
    /// What was used longest ago goes until no more bytes than this are taken.
    pub size: Option<u64>,
}

/// What went.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// The images and files that went.
    pub kept: Vec<Kept>,
    /// Downloads that were not whole.
    pub parts: u64,
    /// Bytes of the disk that are free again.
    pub freed: u64,
}

impl Kept {
    /// Whether it is an image, and no single file.
    pub fn is_image(&self) -> bool {
        self.blob.is_none()
    }

    /// Where an image came from, in words.
    pub fn origin(&self) -> String {
        if !self.is_image() {
            return String::new();
        }
        let Some(about) = &self.about else {
            return if self.trouble.is_some() { "cannot be read" } else { "damaged" }.into();
        };
        let from = &about.from;
        let text =
            |value: Option<&serde_json::Value>| value.and_then(|it| it.as_str()).map(str::to_owned);
        text(from.pointer("/download/url"))
            .or_else(|| text(from.get("file")))
            .or_else(|| {
                let suite = text(from.get("suite"))?;
                Some(format!("Debian {suite} {}, bootstrapped", text(from.get("arch"))?))
            })
            .or_else(|| {
                let base = text(from.get("base"))?;
                Some(format!("prepared from {}", base.get(..12).unwrap_or(&base)))
            })
            .unwrap_or_default()
    }
}

impl Cache {
    /// All images and files, those used last first.
    pub fn list(&self) -> Result<Vec<Kept>> {
        let mut all = self.list_files()?;
        for kind in IMAGES {
            for key in self.keys(kind)? {
                let folder = self.root.join(kind).join(&key);
                // Another nodeforge may remove it at any moment.
                let Ok(metadata) = fs::metadata(&folder) else { continue };
                let used = fs::metadata(folder.join(ABOUT)).and_then(|it| it.modified());
                let (about, trouble) = match self.peek(kind, &key) {
                    Ok(about) => (about, None),
                    Err(error) => (None, Some(error)),
                };
                all.push(Kept {
                    about,
                    trouble,
                    occupied: occupied(&folder),
                    used: used.or_else(|_| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH),
                    path: folder,
                    kind: kind.into(),
                    key,
                    blob: None,
                });
            }
        }
        all.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.key.cmp(&b.key)));
        Ok(all)
    }

    fn list_files(&self) -> Result<Vec<Kept>> {
        let mut all = Vec::new();
        for blob in Blob::ALL {
            for key in self.keys(blob.kind())? {
                let path = self.root.join(blob.kind()).join(&key);
                let Ok(metadata) = fs::metadata(&path) else { continue };
                all.push(Kept {
                    kind: blob.kind().into(),
                    key,
                    about: None,
                    occupied: metadata.blocks() * 512,
                    used: blob.used(&metadata),
                    path,
                    blob: Some(blob),
                    trouble: None,
                });
            }
        }
        Ok(all)
    }

    /// Bytes of the disk that the cache takes, all in all.
    pub fn occupied(&self) -> u64 {
        occupied(&self.root)
    }

    /// Removes what exceeds the limits and is not in use, and unfinished downloads and images that no
    /// process works at.
    /// Without any limit only what is damaged and what is not whole goes.
    pub fn prune(&self, limits: Limits, progress: &dyn Progress) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        let before = self.occupied();
        for kind in IMAGES {
            sweep(&self.folder(kind)?, None, progress)?;
        }
        pruned.freed = before.saturating_sub(self.occupied());
        self.prune_parts(&mut pruned)?;
        let now = SystemTime::now();
        let mut left = self.occupied();
        let mut all = self.list()?;
        // From what was used longest ago.
        while let Some(it) = all.pop() {
            interrupt::check()?;
            let age = now.duration_since(it.used).unwrap_or_default();
            let goes = (it.is_image() && it.about.is_none() && it.trouble.is_none())
                || limits.age.is_some_and(|most| age >= most)
                || limits.size.is_some_and(|most| left > most);
            if !goes && let Some(error) = &it.trouble {
                progress.warn(&format!("{error}; it stays"));
            }
            if goes && self.remove(&it, progress)? {
                left = left.saturating_sub(it.occupied);
                pruned.freed += it.occupied;
                pruned.kept.push(it);
            }
        }
        Ok(pruned)
    }

    /// Removes what exceeds the limit that the environment sets, if any.
    pub(crate) fn keep_to_limit(&self, progress: &dyn Progress) -> Result<()> {
        if self.limit.is_some_and(|limit| self.occupied() > limit) {
            self.prune(Limits { age: None, size: self.limit }, progress)?;
        }
        Ok(())
    }

    /// Reads an image or a file and says whether it is what it was when it came. What is damaged
    /// is removed, and made or fetched again when it is wanted; what cannot be read stays.
    pub fn verify(&self, kept: &Kept, progress: &dyn Progress) -> Result<bool> {
        if let Some(error) = &kept.trouble {
            return Err(error.clone());
        }
        let disk = kept.path.join(DISK);
        let sound = match (kept.blob, &kept.about) {
            (Some(blob), _) => blob.is_sound(&kept.path)?,
            (None, Some(about)) => {
                let context = || format!("reading `{}`", disk.display());
                trust::present(fs::metadata(&disk)).context(context)?.is_some()
                    && is_sound(&Raw::open(&disk)?, about)?
            }
            (None, None) => false,
        };
        interrupt::check()?;
        if !sound && !self.remove(kept, progress)? {
            let path = kept.path.display();
            return Err(Error::failure(format!("`{path}` is damaged, and in use")));
        }
        Ok(sound)
    }

    /// Whether it could be removed: not while somebody uses it.
    fn remove(&self, kept: &Kept, progress: &dyn Progress) -> Result<bool> {
        let Ok(file) = File::open(&kept.path) else { return Ok(false) };
        let lock = FileLock::try_exclusive(file).context(|| "locking the cache")?;
        let Some(_lock) = lock else { return Ok(false) };
        let context = || format!("removing `{}`", kept.path.display());
        if kept.is_image() {
            // In one step: who looks for it sees all of it, or nothing.
            let doomed = self.root.join(&kept.kind).join(format!(".{}.pruned", kept.key));
            fs::rename(&kept.path, &doomed).context(context)?;
            remove(&doomed, progress)?;
        } else {
            fs::remove_file(&kept.path).context(context)?;
        }
        Ok(true)
    }

    /// Removes downloads that were not whole, of images and of files.
    fn prune_parts(&self, pruned: &mut Pruned) -> Result<()> {
        let (parts, files) = (self.folder(PARTS)?, self.folder(FILES)?);
        let (bases, prepared) = (self.folder(BASES)?, self.folder(PREPARED)?);
        let read = |folder: &Path| -> Result<Vec<PathBuf>> {
            let read = || fs::read_dir(folder)?.map(|it| Ok(it?.path())).collect();
            std::io::Result::<_>::context(read(), || format!("reading `{}`", folder.display()))
        };
        let new = read(&files)?.into_iter().filter(|it| it.extension().is_some_and(|it| it == NEW));
        for path in read(&parts)?.into_iter().chain(new) {
            let Some(stem) = path.file_stem().and_then(|it| it.to_str()) else { continue };
            let key = stem.trim_start_matches('.');
            // Its maker holds the lock, of an image or of a file.
            let (Some(_base), Some(_prepared), Some(_file)) =
                (try_lock(&bases, key)?, try_lock(&prepared, key)?, try_lock(&files, key)?)
            else {
                continue;
            };
            pruned.freed += occupied(&path);
            pruned.parts += u64::from(path.extension().is_some_and(|it| it == "part"));
            fs::remove_file(&path).context(|| format!("removing `{}`", path.display()))?;
        }
        Ok(())
    }
}

/// Bytes of the disk that a file or a folder with all in it takes. What vanishes takes nothing.
fn occupied(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    let inside = if metadata.is_dir() {
        // Not one descriptor a level.
        let entries: Vec<_> = fs::read_dir(path).into_iter().flatten().flatten().collect();
        entries.iter().map(|it| occupied(&it.path())).sum()
    } else {
        0
    };
    metadata.blocks() * 512 + inside
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::images::Made;
    use crate::disk::Disk as _;
    use crate::util::progress::Silent;

    fn cache(folder: &Path) -> Cache {
        let cache = Cache::at(folder.into()).unwrap();
        for (age, key) in ["old", "middle", "new"].into_iter().enumerate() {
            let fits = |_: &About| true;
            let image = cache.image("bases", key, fits, &Silent, |_, disk| {
                Raw::create(disk, 1 << 20)?.write_at(&vec![1; 1 << 20], 0)?;
                Ok(Made::here(serde_json::json!({}), None, Vec::new()))
            });
            let about = image.unwrap().path.with_file_name(ABOUT);
            let used = SystemTime::now() - Duration::from_secs(1000 * (3 - age as u64));
            File::options().append(true).open(about).unwrap().set_modified(used).unwrap();
        }
        cache
    }

    fn keys(images: &[Kept]) -> Vec<&str> {
        images.iter().map(|it| it.key.as_str()).collect()
    }

    #[test]
    fn the_longest_unused_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        assert_eq!(keys(&cache.list().unwrap()), ["new", "middle", "old"]);
        let limits = Limits { age: None, size: Some(5 << 19) };
        assert_eq!(keys(&cache.prune(limits, &Silent).unwrap().kept), ["old"]);
        let limits = Limits { age: Some(Duration::from_secs(1500)), size: None };
        assert_eq!(keys(&cache.prune(limits, &Silent).unwrap().kept), ["middle"]);
        assert_eq!(keys(&cache.prune(Limits::default(), &Silent).unwrap().kept), [""; 0]);
        assert_eq!(keys(&cache.list().unwrap()), ["new"]);
    }

    #[test]
    fn what_is_in_use_stays() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let image = cache.find("bases", "old").unwrap().unwrap();
        let all = Limits { age: Some(Duration::ZERO), size: None };
        assert_eq!(keys(&cache.prune(all, &Silent).unwrap().kept), ["middle", "new"]);
        drop(image);
        assert_eq!(keys(&cache.prune(all, &Silent).unwrap().kept), ["old"]);
    }

    #[test]
    fn what_killed_runs_left_goes() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let bases = folder.path().join("bases");
        for name in [".old.pruned", ".middle.Xy12aB"] {
            fs::create_dir(bases.join(name)).unwrap();
            fs::write(bases.join(name).join(DISK), vec![1; 1 << 20]).unwrap();
        }
        // Its maker has not locked it yet.
        let _making = try_lock(&bases, "middle").unwrap();
        let pruned = cache.prune(Limits::default(), &Silent).unwrap();
        assert!(pruned.freed >= 1 << 20, "{}", pruned.freed);
        assert!(!bases.join(".old.pruned").exists());
        assert!(bases.join(".middle.Xy12aB").exists());
        assert_eq!(keys(&cache.list().unwrap()), ["new", "middle", "old"]);
    }

    #[test]
    fn damage_is_found_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let images = cache.list().unwrap();
        Raw::open_writable(&images[1].path.join(DISK)).unwrap().write_at(b"bit rot", 99).unwrap();
        let sound: Vec<_> = images.iter().map(|it| cache.verify(it, &Silent).unwrap()).collect();
        assert_eq!(sound, [true, false, true]);
        assert_eq!(keys(&cache.list().unwrap()), ["new", "old"]);
    }

    #[test]
    fn a_touched_image_is_looked_at_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let path = cache.find("bases", "new").unwrap().unwrap().path;
        Raw::open_writable(&path).unwrap().write_at(b"bit rot", 99).unwrap();
        assert!(cache.find("bases", "new").unwrap().is_none());
        Raw::open_writable(&path).unwrap().write_at(&[1; 7], 99).unwrap();
        assert!(cache.find("bases", "new").unwrap().is_some());
    }
}
