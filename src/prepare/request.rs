//! A prepared base: asked for, found in the cache, or made.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::in_machine;
use super::ingredients::Ingredients;
use super::job::PrepareJob;
use crate::base::{PrepareInputs, ResolvedBase};
use crate::cache::{About, Cache, CachedImage, Made, PREPARED, Package};
use crate::change::{Action, Change};
use crate::config::{Arch, Cluster};
use crate::prepare::{deferred, partitions};
#[cfg(target_os = "linux")]
use crate::sandbox;
use crate::sandbox::Sandbox;
use crate::util::error::{Error, Result};
use crate::util::new_files;
use crate::util::progress::Progress;
use crate::util::sha256::Sha256;

/// A prepared base that is asked for.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Whose it is.
    pub cluster: &'a Cluster,
    /// What nodes with the same packages share, in order. None may hold a secret: what is prepared stays in the
    /// cache, readable by all who can read that.
    pub inputs: &'a PrepareInputs,
    /// The base.
    pub base: &'a ResolvedBase,
    /// What its programs run on.
    pub arch: Arch,
    /// Packages in it which only some of the cluster's nodes have.
    pub own: &'a [String],
    /// How they are run.
    pub sandbox: Sandbox,
    /// What the lock file says of packages, when it was written for the same request.
    pub locked: &'a [Package],
    /// Whether it is made even when the cache has it.
    pub force: bool,
    /// Whether nothing may be fetched.
    pub offline: bool,
    /// Whether a shell is opened in the sandbox when packages cannot be installed.
    pub shell_on_failure: bool,
    /// What others prepared.
    pub(crate) elsewhere: &'a dyn PreparedElsewhere,
}

/// Prepared bases that others made.
pub(crate) trait PreparedElsewhere {
    /// Whether an image of the cache may be used under this key, as far as it did not come from this machine.
    fn accepts(&self, key: &str, about: &About) -> bool;

    /// Whether there is one with this key.
    fn has(&self, key: &str) -> Result<bool>;

    /// Gets the one with this key to a path where nothing is yet; `None` when there is none.
    fn fetch(&self, key: &str, disk: &Path) -> Result<Option<Made>>;
}

/// A prepared base.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// A raw image in the cache.
    pub image: CachedImage,
    /// The hash of everything that went in: 64 hexadecimal digits.
    pub key: String,
}

/// A prepared base that the cache has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedBase {
    /// The hash of everything that went in: 64 hexadecimal digits.
    pub key: String,
    /// Bytes that it occupies there.
    pub occupied: u64,
}

/// What preparing would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheStatus {
    /// The cache has it.
    Cached(CachedBase),
    /// The cluster was never prepared here.
    New,
    /// It was, but of something else: what is not as it was.
    Changed(Vec<String>),
}

impl Request<'_> {
    /// Prepares the base, or finds it in the cache prepared like this before.
    pub fn prepare(&self, cache: &Cache, progress: &dyn Progress) -> Result<Prepared> {
        refuse_secrets(&self.inputs.changes)?;
        let inputs = self.ingredients()?;
        let key = inputs.key()?;
        let fits = |about: &About| self.fits(&key, about);
        let image = cache.image(PREPARED, &key, fits, progress, |folder, disk| {
            if !self.force
                && let Some(made) = self.elsewhere.fetch(&key, disk)?
            {
                return Ok(made);
            }
            progress.stage("growing the disk");
            let size = new_size(&self.inputs.changes);
            let parts = partitions::lay_out(self.base, disk, size, self.sandbox)?;
            let packages = match self.sandbox {
                Sandbox::None => {
                    progress.stage("applying the profile");
                    deferred::apply(disk, &self.inputs.changes, &self.files())?
                }
                Sandbox::Loop | Sandbox::Userns | Sandbox::Vm => {
                    self.run(cache, &key, folder, parts, progress)?
                }
            };
            let from = serde_json::json!({
                "cluster": self.cluster.name, "base": self.base.sha256, "own": self.own, "inputs": inputs,
            });
            Ok(Made::here(from, None, packages))
        })?;
        Ok(Prepared { image, key })
    }

    /// Whether it need not be made here: the cache has it, or others do.
    pub(crate) fn is_had(&self, cache: &Cache) -> Result<bool> {
        let key = self.ingredients()?.key()?;
        let cached = cache.find(PREPARED, &key)?;
        Ok(cached.is_some_and(|it| self.fits(&key, &it.about))
            || (!self.force && self.elsewhere.has(&key)?))
    }

    /// What [`Self::prepare`] would do, and why.
    pub fn status(&self, cache: &Cache) -> Result<CacheStatus> {
        let inputs = self.ingredients()?;
        let key = inputs.key()?;
        if let Some(image) = cache.find(PREPARED, &key)? {
            return Ok(if self.fits(&key, &image.about) {
                let occupied = std::fs::metadata(&image.path).map_or(0, |it| it.blocks() * 512);
                CacheStatus::Cached(CachedBase { key, occupied })
            } else {
                CacheStatus::Changed(vec!["nodeforge.lock asks for other packages".into()])
            });
        }
        let of_this = |from: &serde_json::Value| -> Option<Ingredients> {
            // Earlier versions knew one base a cluster.
            let own = from.get("own").cloned().unwrap_or_default();
            let own: Vec<String> = serde_json::from_value(own).unwrap_or_default();
            (from.get("cluster")?.as_str()? == self.cluster.name && own == self.own)
                .then(|| serde_json::from_value(from.get("inputs")?.clone()).ok())?
        };
        // The one used last comes first.
        let last = cache
            .list()?
            .into_iter()
            .filter(|image| image.kind == PREPARED)
            .find_map(|image| of_this(&image.about?.from));
        Ok(last.map_or(CacheStatus::New, |old| CacheStatus::Changed(inputs.changes_since(&old))))
    }

    /// Whether what was prepared under the same key is what is asked for. Everything else is in
    /// the key; what repositories had that day is not.
    fn fits(&self, key: &str, about: &About) -> bool {
        let is_as_locked = || self.locked.iter().all(|it| about.packages.contains(it));
        !self.force
            && self.elsewhere.accepts(key, about)
            && (self.sandbox == Sandbox::None || is_as_locked())
    }

    fn ingredients(&self) -> Result<Ingredients> {
        Ingredients::new(self.base.sha256, &self.inputs.changes, self.sandbox)
    }

    fn files(&self) -> BTreeMap<Sha256, PathBuf> {
        self.inputs.all.iter().map(|it| (it.sha256, it.path.clone())).collect()
    }

    fn run(
        &self,
        cache: &Cache,
        key: &str,
        folder: &Path,
        parts: partitions::DiskParts,
        progress: &dyn Progress,
    ) -> Result<Vec<Package>> {
        let log = format!("prepare-{}-{}.log", self.cluster.name, &key[..12]);
        let job = PrepareJob {
            sandbox: self.sandbox,
            base: self.base.path.clone(),
            partition: parts.root,
            fat: parts.fat,
            changes: self.inputs.changes.clone(),
            files: self.files(),
            archives: cache.folder("debs")?,
            locked: self.locked.to_vec(),
            offline: self.offline,
            shell_on_failure: self.shell_on_failure,
            foreign: (self.sandbox != Sandbox::Vm && self.arch != Arch::HOST).then_some(self.arch),
            log: cache.folder("logs")?.join(log),
        };
        let made = [job.archives.clone(), job.log.clone()];
        let done = if self.sandbox == Sandbox::Vm {
            in_machine::run(job, self.arch, &self.base.disk, cache, folder, progress)
        } else {
            self.run_here(&job, folder, progress)
        };
        // The worker, which is root in there, knows nothing of who called it.
        for path in &made {
            new_files::give_tree(path);
        }
        done
    }

    /// Does the job in a sandbox of this host's kernel.
    #[cfg(target_os = "linux")]
    fn run_here(
        &self,
        job: &PrepareJob,
        folder: &Path,
        progress: &dyn Progress,
    ) -> Result<Vec<Package>> {
        let environment = sandbox::Environment {
            arch: Some(self.arch),
            scratch: folder.join("scratch"),
            temporary: folder.to_owned(),
            has_terminal: self.shell_on_failure,
            epoch: None,
        };
        sandbox::run(self.sandbox, job, environment, progress)
    }

    #[cfg(not(target_os = "linux"))]
    fn run_here(
        &self,
        _job: &PrepareJob,
        _folder: &Path,
        _progress: &dyn Progress,
    ) -> Result<Vec<Package>> {
        self.sandbox.require(self.arch)?;
        Err(Error::failure("programs of an image run in a machine only here"))
    }
}

fn new_size(changes: &[Change]) -> Option<u64> {
    changes.iter().rev().find_map(|change| {
        if let Action::Grow { size } = change.action { Some(size) } else { None }
    })
}

fn refuse_secrets(changes: &[Change]) -> Result<()> {
    for change in changes {
        if let Action::File { path, content, .. } = &change.action
            && let Some(secret) = content.secrets.first()
        {
            return Err(Error::input(format!(
                "`{path}` holds the secret `{secret}`, which the prepared base must not (asked for by {})",
                change.origin
            ))
            .hint("let a role bring the file instead of the profile"));
        }
    }
    Ok(())
}
