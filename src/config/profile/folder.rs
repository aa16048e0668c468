//! Folders that profiles are made of: in the binary or on disk, read alike.

use std::fs;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};

use crate::config::file;
use crate::config::files::Loaded;
use crate::config::reader::{Reader, Spanned};
use crate::util::error::{Context as _, Error, Result};

static PROFILES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/profiles");
static OVERLAYS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/overlays");
static HANDOUTS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/handouts");
static FIRSTBOOT: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/firstboot");

/// The most files one overlay may have.
const MOST_FILES: usize = 10_000;
/// The most bytes one overlay may have: it is held in memory.
const MOST_BYTES: u64 = 64 << 20;

/// A file's path within its folder, with `/` between its parts, and its bytes.
pub(super) type ProfileFile = (String, Vec<u8>);

/// A folder in the binary or on disk.
#[derive(Clone)]
pub(super) enum Folder {
    Shipped(&'static Dir<'static>),
    Disk(PathBuf),
}

/// Names of the profiles in the binary.
pub fn shipped_profiles() -> Vec<&'static str> {
    PROFILES.dirs().filter_map(|dir| dir.path().to_str()).collect()
}

/// The cluster file that a profile in the binary suggests to begin with.
pub fn starting_file(profile: &str) -> Option<&'static [u8]> {
    PROFILES.get_file(format!("{profile}/cluster.toml")).map(include_dir::File::contents)
}

/// A file of `firstboot/`, all of which are in the binary.
pub(crate) fn firstboot(path: &str) -> Option<&'static [u8]> {
    FIRSTBOOT.get_file(path).map(include_dir::File::contents)
}

/// Pieces of handouts that any profile's templates may include: their names and texts.
pub(crate) fn handout_pieces() -> impl Iterator<Item = (&'static str, &'static str)> {
    HANDOUTS.files().filter_map(|file| Some((file.path().to_str()?, file.contents_utf8()?)))
}

/// Names of the first-boot steps in the binary.
pub(super) fn firstboot_steps() -> Vec<&'static str> {
    let Some(steps) = FIRSTBOOT.get_dir("steps") else { return Vec::new() };
    steps.files().filter_map(|file| file.path().file_name()?.to_str()).collect()
}

impl Folder {
    /// A profile in the binary.
    pub(super) fn shipped_profile(name: &str) -> Option<Self> {
        PROFILES.get_dir(name).map(Self::Shipped)
    }

    /// The overlays that any profile may name.
    pub(super) fn shipped_overlays() -> Self {
        Self::Shipped(&OVERLAYS)
    }

    /// Names of the folders in it; none of one on disk, which is its owner's to know.
    pub(super) fn subfolders(&self) -> Vec<&'static str> {
        match self {
            Self::Shipped(dir) => {
                dir.dirs().filter_map(|dir| dir.path().file_name()?.to_str()).collect()
            }
            Self::Disk(_) => Vec::new(),
        }
    }

    /// The same for the same folder, however it is written.
    pub(super) fn identity(&self) -> PathBuf {
        match self {
            Self::Shipped(dir) => dir.path().to_owned(),
            Self::Disk(folder) => folder.canonicalize().unwrap_or_else(|_| folder.clone()),
        }
    }

    /// What its paths are called in errors.
    pub(super) fn shown(&self, path: &str) -> String {
        match self {
            Self::Shipped(dir) => format!("profiles/{}/{path}", dir.path().display()),
            Self::Disk(folder) => folder.join(path).display().to_string(),
        }
    }

    /// What relative paths in its files start from.
    pub(super) fn directory(&self) -> PathBuf {
        match self {
            Self::Shipped(_) => PathBuf::new(),
            Self::Disk(folder) => folder.clone(),
        }
    }

    /// A file of at most `most` bytes; `None` when there is none.
    pub(super) fn read(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Shipped(dir) => {
                Ok(dir.get_file(dir.path().join(path)).map(|file| file.contents().to_vec()))
            }
            Self::Disk(folder) => {
                let path = file::below(folder, Path::new(path))?;
                if !path.exists() {
                    return Ok(None);
                }
                file::read(&path, most).map(Some)
            }
        }
    }

    /// A file that a `source` in the profile names, and what to call it in errors.
    pub(super) fn load_source(&self, reader: &Reader, source: &Spanned<&str>) -> Result<Loaded> {
        let (bytes, path) = match self {
            Self::Shipped(_) => (self.read(source.value, file::MOST_CONTENT)?, None),
            Self::Disk(_) => {
                let path = reader.resolve(source)?;
                (Some(file::read(&path, file::MOST_CONTENT)?), Some(path))
            }
        };
        let name = self.shown(source.value);
        let bytes = bytes.ok_or_else(|| Error::input(format!("there is no `{name}`")))?;
        Ok(Loaded { bytes, name, path })
    }

    /// Where a file is on this machine; `None` in the binary.
    pub(super) fn place(&self, path: &str) -> Option<PathBuf> {
        match self {
            Self::Shipped(_) => None,
            Self::Disk(folder) => Some(folder.join(path)),
        }
    }

    /// All files below `path`, sorted; `None` when there is no such folder.
    pub(super) fn walk(&self, path: &str) -> Result<Option<Vec<ProfileFile>>> {
        let mut entries = Vec::new();
        match self {
            Self::Shipped(dir) => {
                let Some(dir) = dir.get_dir(dir.path().join(path)) else { return Ok(None) };
                walk_shipped(dir, dir.path(), &mut entries);
            }
            Self::Disk(folder) => {
                let folder = file::below(folder, Path::new(path))?;
                if !folder.is_dir() {
                    return Ok(None);
                }
                let mut left = MOST_BYTES;
                walk_disk(&folder, "", &mut entries, &mut left)?;
            }
        }
        entries.sort();
        Ok(Some(entries))
    }
}

fn walk_shipped(dir: &Dir<'_>, root: &Path, entries: &mut Vec<ProfileFile>) {
    for file in dir.files() {
        if let Some(path) = file.path().strip_prefix(root).ok().and_then(Path::to_str) {
            entries.push((path.to_owned(), file.contents().to_vec()));
        }
    }
    for dir in dir.dirs() {
        walk_shipped(dir, root, entries);
    }
}

fn walk_disk(
    folder: &Path,
    prefix: &str,
    entries: &mut Vec<ProfileFile>,
    left: &mut u64,
) -> Result<()> {
    let shown = folder.display();
    for entry in fs::read_dir(folder).context(|| format!("cannot list `{shown}`"))? {
        let entry = entry.context(|| format!("cannot list `{shown}`"))?;
        let path = entry.path();
        let name = entry.file_name().into_string().map_err(|name| {
            let name = name.to_string_lossy();
            Error::input(format!("the name `{name}` in `{shown}` is not UTF-8 text"))
        })?;
        let kind = entry.file_type().context(|| format!("cannot look at `{}`", path.display()))?;
        if kind.is_dir() {
            walk_disk(&path, &format!("{prefix}{name}/"), entries, left)?;
        } else if kind.is_file() {
            let bytes = file::read(&path, file::MOST_CONTENT.min(*left))?;
            *left -= bytes.len() as u64;
            entries.push((format!("{prefix}{name}"), bytes));
        } else {
            return Err(Error::input(format!("`{}` is neither file nor folder", path.display()))
                .hint(
                    "an overlay holds regular files; a profile's first-boot step can make links",
                ));
        }
        if entries.len() > MOST_FILES {
            return Err(Error::input(format!("`{shown}` has more than {MOST_FILES} files")));
        }
    }
    Ok(())
}
