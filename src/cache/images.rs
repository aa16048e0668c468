//! Images that took long to make, kept under the hash of everything they were made of.
//!
//! An image appears whole: made in a temporary folder `.<key>.<random>` beside its place, synced,
//! renamed. The temporary folder is itself locked, shared, by every process at work in it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::about::{About, Package, PulledFrom};
use super::leftovers::{is_free, remove, sweep};
use super::store::{ABOUT, Cache, CachedImage, DISK, lock, threads};
use crate::disk::sha256_of_disk;
use crate::disk::{Raw, Windows};
use crate::util::error::{Context, Error, Result};
use crate::util::file_lock::FileLock;
use crate::util::new_files;
use crate::util::progress::Progress;
use crate::util::room::{self, FolderUse};
use crate::util::sha256::Sha256;

/// What a maker of an image knows of it besides its bytes.
pub(crate) struct Made {
    /// What it was made of.
    pub from: serde_json::Value,
    /// SHA-256 of the image, when making it told.
    pub sha256: Option<Sha256>,
    /// What is installed in it.
    pub packages: Vec<Package>,
    /// Where others made it; `None` for one that this machine made.
    pub pulled: Option<PulledFrom>,
}

impl Made {
    /// Something that this machine made.
    pub(crate) fn here(
        from: serde_json::Value,
        sha256: Option<Sha256>,
        packages: Vec<Package>,
    ) -> Self {
        Self { from, sha256, packages, pulled: None }
    }
}

impl Cache {
    /// The image under a key; `make` is called when none is there that `fits`, with a temporary
    /// folder and the path in it where the image has to be. Of several processes that want the same
    /// image, one makes it and the others wait. A process that uses the image it replaces keeps that one.
    pub(crate) fn image(
        &self,
        kind: &str,
        key: &str,
        fits: impl Fn(&About) -> bool,
        progress: &dyn Progress,
        make: impl FnOnce(&Path, &Path) -> Result<Made>,
    ) -> Result<CachedImage> {
        let find = || self.find(kind, key);
        if let Some(image) = find()?.filter(|it| fits(&it.about)) {
            return Ok(image);
        }
        self.require_writable()?;
        let parent = self.folder(kind)?;
        let _lock = lock(&parent, key, progress)?;
        let found = find()?;
        let is_damaged = found.is_none();
        if let Some(image) = found.filter(|it| fits(&it.about)) {
            return Ok(image);
        }
        sweep(&parent, Some(key), progress)?;
        let place = parent.join(key);
        if is_damaged && place.exists() {
            progress.warn(&format!("`{}` is damaged and is made again", place.display()));
        }
        let temporary = Temporary::create(&parent, key)?;
        let result = make(&temporary.path, &temporary.path.join(DISK))
            .and_then(|made| temporary.complete(made, progress))
            .and_then(|()| temporary.publish(&parent, key, progress));
        if let Err(error) = result {
            let error = room::explain(error, &temporary.path, FolderUse::Cache, None);
            // The first error is the news; what cannot be removed now is swept by the next run.
            drop(remove(&temporary.path, progress));
            return Err(error);
        }
        let image = find()?.map(|image| CachedImage { was_cached: false, ..image });
        self.keep_to_limit(progress)?;
        image.ok_or_else(|| Error::failure("the image just made is not in the cache"))
    }
}

/// A folder in which an image is being made.
struct Temporary {
    path: PathBuf,
    /// Tells a sweeping nodeforge that somebody is at work here.
    _lock: FileLock,
}

impl Temporary {
    fn create(parent: &Path, key: &str) -> Result<Self> {
        let create = || {
            let path =
                tempfile::Builder::new().prefix(&format!(".{key}.")).tempdir_in(parent)?.keep();
            // Under sudo it is root's until it is whole: its owner could put links where root writes.
            let lock = FileLock::shared(File::open(&path)?)?;
            io::Result::Ok(Self { path, _lock: lock })
        };
        create().context(|| format!("making a temporary folder in `{}`", parent.display()))
    }

    /// Gives the folder its name; what had it before is gone then, or swept when it is not used any
    /// more.
    fn publish(&self, parent: &Path, key: &str, progress: &dyn Progress) -> Result<()> {
        let place = parent.join(key);
        let publish = || {
            let old = format!(".{key}.old.");
            let old = tempfile::Builder::new().prefix(&old).tempdir_in(parent)?.keep();
            new_files::give_path(&old);
            match fs::rename(&place, &old) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            fs::rename(&self.path, &place)?;
            File::open(parent)?.sync_all()?;
            Ok(old)
        };
        let old = publish().context(|| format!("moving the image to `{}`", place.display()))?;
        if is_free(&old) { remove(&old, progress) } else { Ok(()) }
    }

    /// Describes the image, and makes all of it durable.
    fn complete(&self, made: Made, progress: &dyn Progress) -> Result<()> {
        progress.stage("adding the image to the cache");
        let path = self.path.join(DISK);
        let disk = Raw::open(&path)?;
        let metadata = fs::metadata(&path).context(|| format!("reading `{}`", path.display()))?;
        let about = About {
            made_by: format!("nodeforge {}", env!("CARGO_PKG_VERSION")),
            from: made.from,
            size: crate::disk::Disk::size(&disk),
            sha256: made.sha256.map_or_else(|| sha256_of_disk(&disk), Ok)?,
            windows: Some(Windows::of(&disk, threads())?),
            modified: metadata.modified().ok(),
            verified: Some(SystemTime::now()),
            packages: made.packages,
            pulled: made.pulled,
        };
        Cache::write(&self.path.join(ABOUT), &about.to_json()?)?;
        new_files::give_tree(&self.path);
        let sync = || {
            for entry in fs::read_dir(&self.path)? {
                File::open(entry?.path())?.sync_all()?;
            }
            File::open(&self.path)?.sync_all()
        };
        sync().context(|| format!("writing `{}`", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::util::progress::Silent;

    fn make(disk: &Path) -> Result<Made> {
        Raw::create(disk, 1 << 20)?;
        Ok(Made::here(serde_json::json!("a test"), None, Vec::new()))
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_image_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().into()).unwrap();
        let made = cache.image("bases", "k", |_| true, &Silent, |_, disk| make(disk)).unwrap();
        let found =
            cache.image("bases", "k", |_| true, &Silent, |_, _| panic!("made twice")).unwrap();
        assert_eq!(found.about, made.about);
        assert_eq!(names(&folder.path().join("bases")), [".k.lock", "k"]);
        assert_eq!(names(made.path.parent().unwrap()), ["about.json", "disk.img"]);
    }

    #[test]
    fn of_two_makers_one_waits() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().into()).unwrap();
        let count = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let image = cache.image(
                        "bases",
                        "k",
                        |_| true,
                        &Silent,
                        |_, disk| {
                            count.fetch_add(1, Ordering::SeqCst);
                            std::thread::sleep(std::time::Duration::from_millis(200));
                            make(disk)
                        },
                    );
                    assert_eq!(image.unwrap().about.size, 1 << 20);
                });
            }
        });
        assert_eq!(count.into_inner(), 1);
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().into()).unwrap();
        let failed = cache.image(
            "bases",
            "k",
            |_| true,
            &Silent,
            |_, disk| {
                make(disk)?;
                Err(Error::failure("no luck"))
            },
        );
        assert_eq!(failed.unwrap_err().to_string(), "no luck");
        assert_eq!(names(&folder.path().join("bases")), [".k.lock"]);
    }

    #[test]
    fn leftovers_of_dead_runs_are_swept_and_those_of_the_living_stay() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().into()).unwrap();
        let parent = cache.folder("bases").unwrap();
        for key in ["k", "dead", "alive"] {
            fs::create_dir_all(parent.join(format!(".{key}.x/deep"))).unwrap();
            File::create(parent.join(format!(".{key}.lock"))).unwrap();
        }
        let _alive = FileLock::shared(File::open(parent.join(".alive.x")).unwrap()).unwrap();
        cache.image("bases", "k", |_| true, &Silent, |_, disk| make(disk)).unwrap();
        assert_eq!(names(&parent), [".alive.lock", ".alive.x", ".dead.lock", ".k.lock", "k"]);
    }

    #[test]
    fn half_an_image_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().into()).unwrap();
        let image = cache.image("bases", "k", |_| true, &Silent, |_, disk| make(disk)).unwrap();
        fs::write(&image.path, "torn").unwrap();
        let image = cache.image("bases", "k", |_| true, &Silent, |_, disk| make(disk)).unwrap();
        assert_eq!(fs::metadata(image.path).unwrap().len(), 1 << 20);
    }
}
