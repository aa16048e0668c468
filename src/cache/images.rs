//! Images that took long to make, kept under the hash of everything they were made of.
//!
//! `<cache>/<kind>/<key>/` holds `disk.img` and `about.json`. It appears whole: made in a temporary
//! folder beside it, synced, renamed. `.<key>.lock` is held by whoever makes it; the temporary
//! folder `.<key>.<random>` is itself locked, shared, by everyone at work in it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;

use super::about::{About, Package};
use super::blobs::FILES;
use crate::cache::prune;
use crate::disk::{Raw, Windows};
use crate::util::error::{Context, Error, Result};
use crate::util::file_lock::FileLock;
use crate::util::hash::{sha256_of_disk, sha256_of_file};
use crate::util::interrupt;
use crate::util::progress::Progress;

pub(crate) const DISK: &str = "disk.img";
/// Where prepared bases are in the cache.
pub(crate) const PREPARED: &str = "prepared";
pub(crate) const ABOUT: &str = "about.json";
/// What the name of a file that is being made ends in.
pub(crate) const NEW: &str = "new";

/// What helps whoever cannot write to the cache.
const ELSEWHERE: &str = "XDG_CACHE_HOME can point the cache to another folder";

/// The cache's folder.
#[derive(Clone, Debug)]
pub struct Cache {
    pub(crate) root: PathBuf,
    /// The most bytes it may take, where the environment says so.
    pub(crate) limit: Option<u64>,
}

/// An image in the cache. It is never written again, and not pruned while this exists.
#[derive(Clone, Debug)]
pub struct CachedImage {
    /// A raw image, sparse.
    pub path: PathBuf,
    /// The same, open: another may come to be under its path.
    pub disk: Arc<Raw>,
    /// What is known of it.
    pub about: About,
    /// Whether it was there already.
    pub was_cached: bool,
    /// Its folder, locked for everybody who uses it.
    _in_use: Arc<FileLock>,
}

/// What a maker of an image knows of it besides its bytes.
pub(crate) struct Made {
    /// What it was made of.
    pub from: serde_json::Value,
    /// SHA-256 of the image, when making it told.
    pub sha256: Option<String>,
    /// What is installed in it.
    pub packages: Vec<Package>,
}

impl CachedImage {
    /// Writes down what is known by now of where it is from.
    pub(crate) fn describe(&self, from: serde_json::Value) -> Result<()> {
        if self.about.from == from {
            return Ok(());
        }
        let about = About { from, ..self.about.clone() };
        Cache::write(&self.path.with_file_name(ABOUT), &about.to_json()?)
    }
}

impl Cache {
    /// The user's cache: `$XDG_CACHE_HOME/nodeforge`, else `~/.cache/nodeforge`.
    pub fn open() -> Result<Self> {
        // An empty or relative XDG_CACHE_HOME is to be ignored (XDG base directory specification).
        let absolute =
            |name| std::env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
        let folder = absolute("XDG_CACHE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
            .ok_or_else(|| {
                Error::failure("there is no place for the cache").hint("set HOME or XDG_CACHE_HOME")
            })?;
        // Before anything is fetched: what is wrong with it is the user's to mend.
        let limit = prune::limit()?;
        Ok(Self { limit, ..Self::at(folder.join("nodeforge"))? })
    }

    /// A cache in a folder of its own, without a limit.
    pub fn at(root: PathBuf) -> Result<Self> {
        fs::create_dir_all(&root)
            .context(|| format!("making the cache `{}`", root.display()))
            .map_err(|error| error.hint(ELSEWHERE))?;
        Ok(Self { root, limit: None })
    }

    /// A folder of the cache for files that carry their own check, such as packages.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.root.join(name);
        fs::create_dir_all(&folder)
            .context(|| format!("making `{}`", folder.display()))
            .map_err(|error| error.hint(ELSEWHERE))?;
        Ok(folder)
    }

    /// The image under a key, when it is there and whole.
    pub fn find(&self, kind: &str, key: &str) -> Option<CachedImage> {
        let folder = self.root.join(kind).join(key);
        let path = folder.join(DISK);
        let (in_use, about, disk) = loop {
            let opened = File::open(&folder).ok()?;
            let metadata = opened.metadata().ok()?;
            let in_use = FileLock::try_shared(opened).ok()??;
            let about = About::load(&folder.join(ABOUT)).ok()?;
            let disk = Raw::open(&path).ok()?;
            // Until it was locked, another could take its place.
            let now = fs::metadata(&folder).ok()?;
            if (now.dev(), now.ino()) == (metadata.dev(), metadata.ino()) {
                break (in_use, about, disk);
            }
        };
        if !is_untouched(&path, &about) && !is_sound(&path, &about) {
            return None;
        }
        touch(&folder.join(ABOUT));
        let (disk, in_use) = (Arc::new(disk), Arc::new(in_use));
        Some(CachedImage { path, disk, about, was_cached: true, _in_use: in_use })
    }

    /// The keys of all images of a kind.
    pub(crate) fn keys(&self, kind: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(kind)).into_iter().flatten().flatten();
        let names = entries.filter_map(|it| it.file_name().into_string().ok());
        names.filter(|name| !name.starts_with('.')).collect()
    }

    /// What is known of the image under a key, whole or not.
    pub(crate) fn peek(&self, kind: &str, key: &str) -> Option<About> {
        About::load(&self.root.join(kind).join(key).join(ABOUT)).ok()
    }

    /// What is known of an image of this cache; `None` for any other file.
    pub fn about(&self, image: &Path) -> Option<About> {
        let is_ours =
            image.starts_with(&self.root) && image.file_name().is_some_and(|it| it == DISK);
        is_ours.then(|| About::load(&image.with_file_name(ABOUT)).ok()).flatten()
    }

    /// The image under a key; `make` is called when none is there that `fits`, with a temporary
    /// folder and the path in it where the image has to be. Of several processes that want the same
    /// image, one makes it and the others wait. Whoever uses what was there goes on with it.
    pub(crate) fn image(
        &self,
        kind: &str,
        key: &str,
        fits: impl Fn(&About) -> bool,
        progress: &dyn Progress,
        make: impl FnOnce(&Path, &Path) -> Result<Made>,
    ) -> Result<CachedImage> {
        let find = || self.find(kind, key);
        if let Some(image) = find().filter(|it| fits(&it.about)) {
            return Ok(image);
        }
        let parent = self.folder(kind)?;
        let _lock = lock(&parent, key, progress)?;
        let found = find();
        let is_damaged = found.is_none();
        if let Some(image) = found.filter(|it| fits(&it.about)) {
            return Ok(image);
        }
        sweep(&parent, Some(key), progress)?;
        let place = parent.join(key);
        if is_damaged && place.exists() {
            progress.warn(&format!("`{}` is damaged: it is made anew", place.display()));
        }
        let temporary = Temporary::create(&parent, key)?;
        let result = make(&temporary.path, &temporary.path.join(DISK))
            .and_then(|made| temporary.complete(made, progress))
            .and_then(|()| temporary.publish(&parent, key, progress));
        if let Err(error) = result {
            // The first error is the news; what cannot be removed now is swept by the next run.
            drop(remove(&temporary.path, progress));
            return Err(error);
        }
        let image = find().map(|image| CachedImage { was_cached: false, ..image });
        self.keep_to_limit(progress)?;
        image.ok_or_else(|| Error::failure("the image just made is not in the cache"))
    }

    /// Writes a small file of the cache, whole or not at all.
    pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
        let write = || {
            let folder = path.parent().unwrap_or(Path::new("."));
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(bytes)?;
            file.persist(path)?;
            io::Result::Ok(())
        };
        write().context(|| format!("writing `{}`", path.display()))
    }

    /// The file under its SHA-256, locked for everybody who uses it; `make` is called when it is
    /// not there or damaged, with the path where it has to be, and answers for the hash of what it
    /// makes. It appears whole, made by one of several processes that want it.
    pub(crate) fn file(
        &self,
        sha256: &str,
        progress: &dyn Progress,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<(PathBuf, Arc<FileLock>)> {
        let parent = self.folder(FILES)?;
        let place = parent.join(sha256);
        let find = || {
            let lock = FileLock::try_shared(File::open(&place).ok()?).ok()??;
            // It may have been pruned before it was locked.
            let is_good = sha256_of_file(&place).is_ok_and(|it| it == sha256);
            touch(&place);
            is_good.then(|| (place.clone(), Arc::new(lock)))
        };
        if let Some(found) = find() {
            return Ok(found);
        }
        let _lock = lock(&parent, sha256, progress)?;
        if let Some(found) = find() {
            return Ok(found);
        }
        if place.exists() {
            progress.warn(&format!("`{}` is damaged: it is fetched anew", place.display()));
        }
        let new = parent.join(format!(".{sha256}.{NEW}"));
        let publish = || {
            let file = File::open(&new)?;
            file.sync_all()?;
            let in_use = FileLock::shared(file)?;
            fs::rename(&new, &place)?;
            io::Result::Ok(in_use)
        };
        let made = make(&new)
            .and_then(|()| publish().context(|| format!("moving a file to `{}`", place.display())));
        let in_use = made.inspect_err(|_| {
            // The first error is the news.
            drop(fs::remove_file(&new));
        })?;
        self.keep_to_limit(progress)?;
        Ok((place, Arc::new(in_use)))
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
            let lock = FileLock::shared(File::open(&path)?)?;
            io::Result::Ok(Self { path, _lock: lock })
        };
        create().context(|| format!("making a temporary folder in `{}`", parent.display()))
    }

    /// Gives the folder its name; what had it before is gone then, or swept when nobody uses it any
    /// more.
    fn publish(&self, parent: &Path, key: &str, progress: &dyn Progress) -> Result<()> {
        let place = parent.join(key);
        let publish = || {
            let old = format!(".{key}.old.");
            let old = tempfile::Builder::new().prefix(&old).tempdir_in(parent)?.keep();
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
        progress.stage("checking the image in");
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
            packages: made.packages,
        };
        Cache::write(&self.path.join(ABOUT), &about.to_json()?)?;
        let sync = || {
            for entry in fs::read_dir(&self.path)? {
                File::open(entry?.path())?.sync_all()?;
            }
            File::open(&self.path)?.sync_all()
        };
        sync().context(|| format!("writing `{}`", path.display()))
    }
}

/// Whether an image's file is as it was when it was made, as far as its metadata tells.
fn is_untouched(path: &Path, about: &About) -> bool {
    fs::metadata(path).is_ok_and(|it| {
        it.len() == about.size
            && about.modified.is_some_and(|then| it.modified().ok() == Some(then))
    })
}

/// Whether an image's bytes are those it was made with.
pub(crate) fn is_sound(path: &Path, about: &About) -> bool {
    let is_right = || -> Result<bool> {
        let disk = Raw::open(path)?;
        match &about.windows {
            Some(windows) => Ok(windows.differing(&disk, threads())?.is_empty()),
            None => Ok(sha256_of_disk(&disk)? == about.sha256),
        }
    };
    let is_whole = fs::metadata(path).is_ok_and(|it| it.len() == about.size);
    is_whole && is_right().unwrap_or(false)
}

/// As many as there are processors.
fn threads() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// Notes a use, for whoever prunes. A cache that cannot be written is no obstacle.
pub(crate) fn touch(file: &Path) {
    let now = std::time::SystemTime::now();
    drop(File::options().append(true).open(file).and_then(|it| it.set_modified(now)));
}

/// Takes a key's lock, waiting for another nodeforge that holds it.
pub(crate) fn lock(parent: &Path, key: &str, progress: &dyn Progress) -> Result<FileLock> {
    let mut has_said = false;
    loop {
        if let Some(lock) = try_lock(parent, key)? {
            return Ok(lock);
        }
        if !has_said {
            progress.stage("waiting for another nodeforge that makes the same image");
            has_said = true;
        }
        interrupt::check()?;
        std::thread::sleep(interrupt::POLL);
    }
}

/// A key's lock; `None` while another nodeforge holds it.
pub(crate) fn try_lock(parent: &Path, key: &str) -> Result<Option<FileLock>> {
    let path = parent.join(format!(".{key}.lock"));
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file
        .context(|| format!("opening `{}`", path.display()))
        .map_err(|error| error.hint(ELSEWHERE))?;
    FileLock::try_exclusive(file).context(|| format!("locking `{}`", path.display()))
}

/// Whether nobody has it locked, nor could have just now.
fn is_free(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(FileLock::try_exclusive(file), Ok(Some(_))))
}

/// Removes what killed runs left of images: of the key that we hold, and of all that nobody is
/// making.
pub(crate) fn sweep(parent: &Path, own_key: Option<&str>, progress: &dyn Progress) -> Result<()> {
    for entry in fs::read_dir(parent).context(|| format!("reading `{}`", parent.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((key, _)) = name.strip_prefix('.').and_then(|name| name.split_once('.')) else {
            continue;
        };
        if !entry.file_type()?.is_dir() {
            continue;
        }
        // Whoever holds the key may have made the folder and not locked it yet.
        let keys_lock = parent.join(format!(".{key}.lock"));
        if (own_key == Some(key) || is_free(&keys_lock)) && is_free(&entry.path()) {
            // A dead run's leftovers cost room, but stop nobody.
            drop(remove(&entry.path(), progress));
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
pub(crate) fn remove(folder: &Path, progress: &dyn Progress) -> Result<()> {
    crate::sandbox::remove_folder(folder, progress)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn remove(folder: &Path, _progress: &dyn Progress) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context(|| format!("removing `{}`", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::util::progress::Silent;

    fn make(disk: &Path) -> Result<Made> {
        Raw::create(disk, 1 << 20)?;
        Ok(Made { from: serde_json::json!("a test"), sha256: None, packages: Vec::new() })
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
