//! The cache's folder: what is in it, found and locked while it is used.
//!
//! `<cache>/<kind>/<key>/` holds `disk.img` and `about.json`. `.<key>.lock` is held by the process that
//! makes it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, SystemTime};

use super::about::About;
use super::{limit, trust};
use crate::disk::{Checked, Disk as _, Raw, Windows, sha256_of_disk};
use crate::util::error::{Context, Error, Result};
use crate::util::file_lock::FileLock;
use crate::util::interrupt;
use crate::util::new_files;
use crate::util::progress::Progress;
use crate::util::room::FolderUse;

pub(crate) const DISK: &str = "disk.img";
/// Where bases are in the cache.
pub(crate) const BASES: &str = "bases";
/// Where downloads that are not whole yet are in the cache.
pub(crate) const PARTS: &str = "downloads";
/// What is known of a base made from packages: as of when, in seconds since 1970.
pub(crate) const EPOCH: &str = "source_date_epoch";
/// Where prepared bases are in the cache.
pub(crate) const PREPARED: &str = "prepared";
pub(crate) const ABOUT: &str = "about.json";
/// What the name of a file that is being made ends in.
pub(crate) const NEW: &str = "new";

/// How long an image is taken for what it was before all of it is read again: disks and memory forget a bit
/// now and then, in weeks rather than in hours.
const TRUSTED_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What helps where the cache cannot be written.
const ELSEWHERE: &str = "XDG_CACHE_HOME can point the cache to another folder";

/// The cache's folder.
#[derive(Clone, Debug)]
pub struct Cache {
    pub(crate) root: PathBuf,
    /// The most bytes it may take, where the environment says so.
    pub(crate) limit: Option<u64>,
    /// Whether nothing in it may change, not even the time of its last use.
    is_read_only: bool,
}

/// An image in the cache. It is never written again, and not pruned while this exists.
#[derive(Clone, Debug)]
pub struct CachedImage {
    /// A raw image, sparse.
    pub path: PathBuf,
    /// The same, open: another may come to be under its path. What is read of it was compared first.
    pub disk: Arc<Checked>,
    /// What is known of it.
    pub about: About,
    /// Whether it was there already.
    pub was_cached: bool,
    /// Its folder, locked for everybody who uses it.
    pub(super) _in_use: Arc<FileLock>,
}

impl CachedImage {
    /// Reads what was not read yet, and fails unless it is what it was.
    pub(crate) fn check(&self) -> Result<()> {
        self.disk.check(threads())
    }

    /// Copies it to a file just made that is at least as long; fails unless it is what it was.
    pub(crate) fn copy_to(&self, to: &Raw, place: FolderUse) -> Result<()> {
        self.disk.copy_to(to, place, threads())
    }

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
    /// The user's cache: `$XDG_CACHE_HOME/nodeforge`, else `~/.cache/nodeforge`; under sudo, that of the user
    /// behind it.
    pub fn open() -> Result<Self> {
        let (root, limit) = Self::place()?;
        Ok(Self { limit, ..Self::at(root)? })
    }

    /// The user's cache, to look at: nothing in it is made or changed, and it need not exist.
    pub fn look() -> Result<Self> {
        let (root, limit) = Self::place()?;
        Ok(Self { root, limit, is_read_only: true })
    }

    /// Where the user's cache is, and the most bytes it may take.
    fn place() -> Result<(PathBuf, Option<u64>)> {
        // An empty or relative XDG_CACHE_HOME is to be ignored (XDG base directory specification).
        let absolute =
            |name| std::env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
        let folder = absolute("XDG_CACHE_HOME")
            .or_else(|| new_files::home().map(|home| home.join(".cache")))
            .ok_or_else(|| {
                Error::failure("cannot find a place for the cache")
                    .hint("set HOME or XDG_CACHE_HOME")
            })?;
        // Before anything is fetched: what is wrong with it is the user's to mend.
        let limit = limit::from_environment()?;
        Ok((folder.join("nodeforge"), limit))
    }

    /// A cache in a folder of its own, without a limit.
    pub fn at(root: PathBuf) -> Result<Self> {
        new_files::create_dir_all(&root)
            .context(|| format!("making the cache `{}`", root.display()))
            .map_err(|error| error.hint(ELSEWHERE))?;
        trust::require_own(&root)?;
        Ok(Self { root, limit: None, is_read_only: false })
    }

    /// Whether nothing in it may change.
    pub(crate) fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// A folder of the cache for files that carry their own check, such as packages.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.root.join(name);
        if !self.is_read_only {
            new_files::create_dir_all(&folder)
                .context(|| format!("making `{}`", folder.display()))
                .map_err(|error| error.hint(ELSEWHERE))?;
        }
        trust::require_own(&folder)?;
        Ok(folder)
    }

    /// The image under a key, when it is there and whole. One that was touched, or not looked at for a while,
    /// is read and compared first; what cannot be read is an error, and not taken for damage.
    pub fn find(&self, kind: &str, key: &str) -> Result<Option<CachedImage>> {
        let parent = self.root.join(kind);
        let folder = parent.join(key);
        let path = folder.join(DISK);
        let context = || format!("reading `{}` in the cache", folder.display());
        let (in_use, about, disk) = loop {
            let Some(opened) = trust::present(File::open(&folder)).context(context)? else {
                return Ok(None);
            };
            let metadata = opened.metadata().context(context)?;
            let Some(in_use) = FileLock::try_shared(opened).context(context)? else {
                return Ok(None);
            };
            let Some(about) = About::load(&folder.join(ABOUT))? else { return Ok(None) };
            if trust::present(fs::metadata(&path)).context(context)?.is_none() {
                return Ok(None);
            }
            let disk = Raw::open(&path)?;
            // Until it was locked, another could take its place.
            let now = trust::present(fs::metadata(&folder)).context(context)?;
            if now.is_some_and(|it| (it.dev(), it.ino()) == (metadata.dev(), metadata.ino())) {
                break (in_use, about, disk);
            }
        };
        for path in [&self.root, &parent, &folder, &path, &folder.join(ABOUT)] {
            trust::require_own(path)?;
        }
        let Some(about) = self.compare(&folder, &disk, about)? else { return Ok(None) };
        if !self.is_read_only {
            touch(&folder.join(ABOUT));
        }
        let disk = about.windows.clone().and_then(|windows| Checked::new(Arc::new(disk), windows));
        let Some(disk) = disk.map(Arc::new) else { return Ok(None) };
        let in_use = Arc::new(in_use);
        Ok(Some(CachedImage { path, disk, about, was_cached: true, _in_use: in_use }))
    }

    /// What is known of an image, when its bytes are those it was made with, as far as they have to be looked
    /// at; `None` when they are not. That they were is written down.
    fn compare(&self, folder: &Path, disk: &Raw, about: About) -> Result<Option<About>> {
        let is_recent = about.verified.is_some_and(|then| {
            SystemTime::now().duration_since(then).is_ok_and(|age| age < TRUSTED_FOR)
        });
        let is_touched = !is_untouched(&folder.join(DISK), &about);
        if !is_touched && about.windows.is_some() && (is_recent || self.is_read_only) {
            return Ok(Some(about));
        }
        if !is_sound(disk, &about)? {
            return Ok(None);
        }
        let windows = match &about.windows {
            Some(windows) => windows.clone(),
            // An earlier version left none.
            None => Windows::of(disk, threads())?,
        };
        let metadata =
            disk.file().metadata().context(|| format!("reading `{}`", folder.display()))?;
        let about = About {
            windows: Some(windows),
            modified: metadata.modified().ok(),
            verified: Some(SystemTime::now()),
            ..about
        };
        if !self.is_read_only {
            // A cache that cannot be written makes this slow, not wrong.
            drop(Self::write(&folder.join(ABOUT), &about.to_json()?));
        }
        Ok(Some(about))
    }

    /// The keys of all images of a kind.
    pub(crate) fn keys(&self, kind: &str) -> Result<Vec<String>> {
        let folder = self.root.join(kind);
        let read = || -> io::Result<Vec<String>> {
            let Some(entries) = trust::present(fs::read_dir(&folder))? else {
                return Ok(Vec::new());
            };
            let names = entries.map(|it| Ok(it?.file_name().into_string().ok()));
            let names = names.collect::<io::Result<Vec<_>>>()?.into_iter().flatten();
            Ok(names.filter(|name| !name.starts_with('.')).collect())
        };
        read().context(|| format!("reading `{}`", folder.display()))
    }

    /// What is known of the image under a key, whole or not; `None` where that is damaged or missing.
    pub(crate) fn peek(&self, kind: &str, key: &str) -> Result<Option<About>> {
        About::load(&self.root.join(kind).join(key).join(ABOUT))
    }

    /// What is known of an image of this cache; `None` for any other file.
    pub fn about(&self, image: &Path) -> Option<About> {
        let is_ours =
            image.starts_with(&self.root) && image.file_name().is_some_and(|it| it == DISK);
        is_ours.then(|| About::load(&image.with_file_name(ABOUT)).ok().flatten()).flatten()
    }

    /// Fails where nothing may be made: a look at the cache finds what is there.
    pub(super) fn require_writable(&self) -> Result<()> {
        if self.is_read_only {
            return Err(Error::failure("the cache does not have it yet"));
        }
        Ok(())
    }

    /// Writes a small file of the cache, whole or not at all.
    pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
        let write = || {
            let folder = path.parent().unwrap_or(Path::new("."));
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(bytes)?;
            new_files::give(file.as_file());
            file.persist(path)?;
            io::Result::Ok(())
        };
        write().context(|| format!("writing `{}`", path.display()))
    }
}

/// Whether an image's file is as it was when it was made, as far as its metadata tells.
fn is_untouched(path: &Path, about: &About) -> bool {
    fs::metadata(path).is_ok_and(|it| {
        it.len() == about.size
            && about.modified.is_some_and(|then| it.modified().ok() == Some(then))
    })
}

/// Whether an image's bytes are those it was made with. What cannot be read is an error.
pub(super) fn is_sound(disk: &Raw, about: &About) -> Result<bool> {
    if disk.size() != about.size {
        return Ok(false);
    }
    match &about.windows {
        Some(windows) => Ok(windows.differing(disk, threads())?.is_empty()),
        None => Ok(sha256_of_disk(disk)? == about.sha256),
    }
}

/// As many as there are processors.
pub(super) fn threads() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// Notes a use, for pruning. A cache that cannot be written does no harm.
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
            progress.stage("waiting for another nodeforge that is making the same image");
            has_said = true;
        }
        interrupt::check()?;
        std::thread::sleep(interrupt::POLL);
    }
}

/// A key's lock; `None` while another nodeforge holds it.
pub(crate) fn try_lock(parent: &Path, key: &str) -> Result<Option<FileLock>> {
    let path = parent.join(format!(".{key}.lock"));
    let file = new_files::open_or_make(&path)
        .context(|| format!("opening `{}`", path.display()))
        .map_err(|error| error.hint(ELSEWHERE))?;
    FileLock::try_exclusive(file).context(|| format!("locking `{}`", path.display()))
}
