//! The .deb files of a preparation: those of the cache, which the image's programs only read, and those
//! that its apt fetches.
//!
//! A script of a package could write to any file of a package that its root shares with the cache, and
//! so be in the next cluster's image. So the cache's are a read-only mount, the folder that apt works in
//! has links into it, and what was fetched is taken out of reach before any script runs.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::apt::{ARCHIVES, LISTS};
use crate::cache::Package;
use crate::disk::sha256_of_file;
use crate::sandbox::Guest;
use crate::util::error::{Context as _, Result};
use crate::util::sha256::Sha256;

/// Where programs of the image see the cache's packages.
const CACHED: &str = "/run/nodeforge-packages";

/// The .deb files of one preparation.
pub(crate) struct Archives {
    /// The cache's.
    cache: PathBuf,
    /// The same files under second names: whoever prunes the cache leaves them.
    cached: PathBuf,
    /// Whether what is fetched may go there: not what a base fetched that nobody vouches for.
    keeps: bool,
    /// Where the image's apt keeps its own, and its lists.
    folder: PathBuf,
    lists: PathBuf,
    /// Those that it fetched and that are not in the cache.
    fetched: BTreeMap<String, Sha256>,
}

impl Archives {
    /// Makes apt's folders in `scratch`.
    pub(crate) fn open(cache: &Path, keeps: bool, scratch: &Path) -> Result<Self> {
        let (folder, lists) = (scratch.join("archives"), scratch.join("lists"));
        let cached = scratch.join("cached");
        fs::create_dir_all(folder.join("partial"))?;
        fs::create_dir_all(lists.join("partial"))?;
        fs::create_dir(&cached)?;
        let fetched = BTreeMap::new();
        let archives = Self { cache: cache.to_owned(), cached, keeps, folder, lists, fetched };
        for name in debs(&archives.cache)? {
            archives.show_cached(&name)?;
        }
        Ok(archives)
    }

    /// Folders, and where the root is to see them.
    pub(crate) fn binds(&self) -> [(&Path, &str); 2] {
        [(&self.folder, ARCHIVES), (&self.lists, LISTS)]
    }

    /// Lets programs of the root read the cache's packages.
    #[must_use]
    pub(crate) fn show(&self, guest: Guest) -> Guest {
        guest.with_read_only(&self.cached, CACHED)
    }

    /// Where the packages' files will be in the root, when the cache has all of them and they are what
    /// they were.
    pub(crate) fn locked(&self, locked: &[Package]) -> Result<Option<Vec<String>>> {
        let mut files = Vec::new();
        for package in locked {
            let name = package.file_name();
            let path = self.cached.join(&name);
            if !path.is_file() || Some(sha256_of_file(&path)?) != package.sha256 {
                return Ok(None);
            }
            files.push(format!("{CACHED}/{name}"));
        }
        Ok(Some(files))
    }

    /// Takes what was fetched out of the reach of packages' scripts. To be called before any of them
    /// runs.
    pub(crate) fn keep_fetched(&mut self) -> Result<()> {
        for name in debs(&self.folder)? {
            let path = self.folder.join(&name);
            if self.keeps {
                let kept = self.cache.join(&name);
                let keep = || {
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
                    // Of two files with one name the newcomer stays.
                    fs::rename(&path, &kept)
                };
                keep().context(|| format!("cannot keep the package `{}`", kept.display()))?;
                self.show_cached(&name)?;
            } else {
                self.fetched.insert(name, sha256_of_file(&path)?);
            }
        }
        Ok(())
    }

    /// The SHA-256 of a package's file, when it is here.
    fn sha256(&self, package: &Package) -> Result<Option<Sha256>> {
        let name = package.file_name();
        if let Some(known) = self.fetched.get(&name) {
            return Ok(Some(*known));
        }
        let path = self.cached.join(name);
        path.is_file().then(|| sha256_of_file(&path)).transpose()
    }

    /// Notes the hashes of packages that were not there before.
    pub(crate) fn add_hashes(&self, after: &mut [Package], before: &[Package]) -> Result<()> {
        for package in after {
            if before.binary_search(package).is_err() {
                package.sha256 = self.sha256(package)?;
            }
        }
        Ok(())
    }

    /// Lets apt find a package of the cache.
    fn show_cached(&self, name: &str) -> Result<()> {
        let show = || {
            match fs::hard_link(self.cache.join(name), self.cached.join(name)) {
                // It was pruned this moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                done => done?,
            }
            symlink(format!("{CACHED}/{name}"), self.folder.join(name))
        };
        show().context(|| format!("cannot use the cache's package `{name}`"))
    }
}

/// Names of the .deb files of a folder; not of links, which are the cache's.
fn debs(folder: &Path) -> Result<Vec<String>> {
    let read = || {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().into_string().ok().filter(|it| it.ends_with(".deb"));
            names.extend(name.filter(|_| entry.file_type().is_ok_and(|it| it.is_file())));
        }
        io::Result::Ok(names)
    };
    read().context(|| format!("cannot read `{}`", folder.display()))
}
