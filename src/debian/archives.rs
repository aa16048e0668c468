//! The .deb files of a preparation: those of the cache, which the image's programs only read, and those
//! that its apt fetches.
//!
//! Whoever can write to a package of the cache is in the next cluster's image, and apt looks at no more
//! than the size of what it finds fetched. So a package is taken from the cache only when it has the hash
//! that the lock file or the repository's lists ask for; it is seen through a read-only mount; and what was
//! fetched is taken out of reach before any script runs.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::cache::Package;
use crate::disk::sha256_of_file;
use crate::sandbox::Guest;
use crate::util::error::{Context as _, Error, Result};
use crate::util::sha256::Sha256;

/// Where apt keeps .deb files: a bind mount, so that they never reach the image.
const ARCHIVES: &str = "/var/cache/apt/archives";
/// Where apt keeps its lists: likewise.
const LISTS: &str = "/var/lib/apt/lists";
/// Where programs of the image see the cache's packages.
const CACHED: &str = "/run/nodeforge-packages";

/// The .deb files of one preparation.
pub(crate) struct Archives {
    /// The cache's.
    cache: PathBuf,
    /// Those of them that are used, under second names: whoever prunes the cache leaves them.
    cached: PathBuf,
    /// Their hashes.
    hashes: BTreeMap<String, Sha256>,
    /// Where the image's apt keeps its own, and its lists.
    folder: PathBuf,
    lists: PathBuf,
}

impl Archives {
    /// Makes apt's folders in `scratch`.
    pub(crate) fn open(cache: &Path, scratch: &Path) -> Result<Self> {
        let (folder, lists) = (scratch.join("archives"), scratch.join("lists"));
        let cached = scratch.join("cached");
        fs::create_dir_all(folder.join("partial"))?;
        fs::create_dir_all(lists.join("partial"))?;
        fs::create_dir(&cached)?;
        Ok(Self { cache: cache.to_owned(), cached, hashes: BTreeMap::new(), folder, lists })
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
    pub(crate) fn locked(&mut self, locked: &[Package]) -> Result<Option<Vec<String>>> {
        let mut files = Vec::new();
        for package in locked {
            let name = package.file_name();
            if package.sha256.is_none() || self.take(&name)? != package.sha256 {
                return Ok(None);
            }
            files.push(format!("{CACHED}/{name}"));
        }
        Ok(Some(files))
    }

    /// Spares apt a file that it would fetch, of a line of what `apt-get --print-uris` says:
    /// `'http://…/tar_1.35_amd64.deb' tar_1.35_amd64.deb 815000 SHA256:…`.
    pub(crate) fn spare(&mut self, line: &str) -> Result<()> {
        let mut words = line.rsplit(' ');
        let hash = words.next().and_then(|it| it.strip_prefix("SHA256:")?.parse().ok());
        let name = words.nth(1).filter(|it| it.ends_with(".deb") && !it.contains('/'));
        if let (Some(hash), Some(name)) = (hash, name)
            && self.take(name)? == Some(hash)
            && !self.folder.join(name).exists()
        {
            self.link(name)?;
        }
        Ok(())
    }

    /// Takes what was fetched out of the reach of packages' scripts. To be called before any of them
    /// runs.
    pub(crate) fn keep_fetched(&mut self) -> Result<()> {
        for name in debs(&self.folder)? {
            let (path, kept) = (self.folder.join(&name), self.cache.join(&name));
            // A copy: what fetched the file may have a second name of it, or gave it to somebody.
            let keep = || {
                let mut new =
                    tempfile::Builder::new().prefix(".").suffix(".new").tempfile_in(&self.cache)?;
                io::copy(&mut fs::File::open(&path)?, new.as_file_mut())?;
                new.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
                // Of two files with one name the newcomer stays.
                new.persist(&kept)?;
                fs::remove_file(&path)
            };
            keep().context(|| format!("cannot keep the package `{}`", kept.display()))?;
            self.take(&name)?;
            self.link(&name)?;
        }
        Ok(())
    }

    /// Notes the hashes of packages that were not there before.
    pub(crate) fn add_hashes(&self, after: &mut [Package], before: &[Package]) {
        for package in after {
            if before.binary_search(package).is_err() {
                package.sha256 = self.hashes.get(&package.file_name()).copied();
            }
        }
    }

    /// Holds a package of the cache, and hashes it; `None` when the cache has no such one.
    fn take(&mut self, name: &str) -> Result<Option<Sha256>> {
        // The lock file names packages, and is not to name other files.
        if name.starts_with('.') || name.contains(['/', '\0']) {
            return Err(Error::input(format!("`{name}` is not the name of a package's file")));
        }
        let held = self.cached.join(name);
        let hold = || {
            match fs::remove_file(&held) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            match fs::hard_link(self.cache.join(name), &held) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                done => done.map(|()| fs::symlink_metadata(&held).is_ok_and(|it| it.is_file())),
            }
        };
        if !hold().context(|| format!("cannot use the cache's package `{name}`"))? {
            return Ok(None);
        }
        let hash = sha256_of_file(&held)?;
        self.hashes.insert(name.to_owned(), hash);
        Ok(Some(hash))
    }

    /// Lets apt find a package that is held.
    fn link(&self, name: &str) -> Result<()> {
        symlink(format!("{CACHED}/{name}"), self.folder.join(name))
            .context(|| format!("cannot use the cache's package `{name}`"))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What somebody put into the cache under a package's name is not the package.
    #[test]
    fn only_what_has_the_hash_of_the_lists_is_taken_from_the_cache() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, scratch) = (folder.path().join("cache"), folder.path().join("scratch"));
        fs::create_dir(&cache).unwrap();
        for (name, content) in [("good_1_all.deb", "good"), ("bad_1_all.deb", "evil")] {
            fs::write(cache.join(name), content).unwrap();
        }
        let mut archives = Archives::open(&cache, &scratch).unwrap();
        for (name, content) in [("good", "good"), ("bad", "bad!"), ("../bad", "evil"), ("none", "")]
        {
            let hash = Sha256::of(content.as_bytes());
            let file = format!("{name}_1_all.deb");
            archives.spare(&format!("'http://example.org/{file}' {file} 4 SHA256:{hash}")).unwrap();
        }
        archives.spare("Reading package lists...").unwrap();
        let outside = Package {
            name: folder.path().join("mine").to_str().unwrap().to_owned(),
            version: "1".into(),
            architecture: "all".into(),
            sha256: Some(Sha256::of(b"mine")),
        };
        fs::write(folder.path().join("mine_1_all.deb"), "mine").unwrap();
        let error = archives.locked(&[outside]).unwrap_err();
        assert!(error.to_string().contains("is not the name of a package's file"), "{error}");
        assert!(folder.path().join("mine_1_all.deb").exists());
        let target = fs::read_link(scratch.join("archives/good_1_all.deb")).unwrap();
        assert_eq!(target, Path::new("/run/nodeforge-packages/good_1_all.deb"));
        assert_eq!(fs::read_dir(scratch.join("archives")).unwrap().count(), 2, "and partial");
    }
}
