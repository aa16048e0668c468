//! A cluster and all that belongs to it on this machine, each opened once.

use std::path::PathBuf;

use super::registry::RegistryChoice;
use crate::base::{self, Catalogue, LockFile, PackagePins, PrepareInputs, ResolvedBase, Resolver};
use crate::cache::Cache;
use crate::change::{Action, Change};
use crate::config::{Cluster, RegistryReference};
use crate::plan::{self, SharedBases};
use crate::util::error::Result;
use crate::util::progress::{Progress, Silent};

/// How the network, the lock file and the catalogue are used.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Nothing is fetched: the cache has it, or the command fails.
    pub offline: bool,
    /// The lock file must be there and stay as it is.
    pub locked: bool,
    /// What the lock file pins is looked up again.
    pub update: bool,
    /// Which registry is looked for prepared bases in.
    pub registry: RegistryChoice,
    /// A catalogue of the user's own; `None` is the one in the user's configuration folder.
    pub catalogue: Option<PathBuf>,
}

impl Options {
    /// The repository that a cluster's prepared bases are looked for in.
    pub fn registry_of(&self, cluster: &Cluster) -> Option<RegistryReference> {
        match &self.registry {
            RegistryChoice::AsFile => cluster.registry.registry.clone(),
            RegistryChoice::Nothing => None,
            RegistryChoice::Named(place) => Some(place.clone()),
        }
    }
}

/// A cluster with its lock file, the catalogue and the cache.
pub struct Project<'a> {
    /// What the cluster file says.
    pub cluster: &'a Cluster,
    /// What its inputs were found to be.
    pub lock: LockFile,
    pub(super) cache: Cache,
    catalogue: Catalogue,
    pub(super) options: base::ResolveOptions,
    /// Where prepared bases are kept for others.
    pub(super) registry: Option<RegistryReference>,
    pub(super) progress: &'a dyn Progress,
}

impl<'a> Project<'a> {
    /// Opens what belongs to a cluster.
    pub fn open(
        cluster: &'a Cluster,
        options: &Options,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        Ok(Self {
            cluster,
            lock: LockFile::open(&cluster.directory)?,
            cache: Cache::open()?,
            catalogue: Catalogue::load(options.catalogue.as_deref())?,
            options: base::ResolveOptions {
                offline: options.offline,
                locked: options.locked,
                update: options.update,
                sandbox: None,
            },
            registry: options.registry_of(cluster),
            progress,
        })
    }

    /// Opens it to look at: nothing is fetched, and nothing is written, neither beside the cluster file
    /// nor in the cache nor to the user's base.
    pub fn look(cluster: &'a Cluster) -> Result<Self> {
        Ok(Self {
            cluster,
            lock: LockFile::open(&cluster.directory)?,
            cache: Cache::look()?,
            catalogue: Catalogue::load(None)?,
            options: base::ResolveOptions { offline: true, locked: true, ..Default::default() },
            registry: cluster.registry.registry.clone(),
            progress: &Silent,
        })
    }

    /// The cluster's base, as its lock file pins it; the lock file follows.
    pub fn base(&mut self) -> Result<ResolvedBase> {
        let mut lock = self.lock.clone();
        let base = self.resolver().resolve_locked(&self.cluster.base, &mut lock)?;
        self.lock = lock;
        self.save_lock()?;
        Ok(base)
    }

    /// What preparing the base with packages beside the profile's needs from elsewhere, as the lock file pins
    /// it; the lock file follows.
    pub fn inputs(&mut self, base: &ResolvedBase, packages: &[String]) -> Result<PrepareInputs> {
        let changes = plan::prepare(self.cluster, packages)?;
        // An image is not looked into without need.
        let depends = |change: &Change| {
            matches!(change.action, Action::Download { arch: Some(_), .. } | Action::Images(_))
        };
        let arch = if changes.iter().any(depends) { Some(base.arch()?) } else { None };
        let mut lock = self.lock.clone();
        let inputs = self.resolver().inputs(&changes, arch, &mut lock)?;
        self.lock = lock;
        self.save_lock()?;
        Ok(inputs)
    }

    /// Whether more than its first download says what the cluster's base must be.
    pub fn is_vouched_for(&self) -> bool {
        self.catalogue.is_vouched_for(&self.cluster.base)
    }

    /// The cluster's base, fetched when it must be. The lock file stays as it is.
    pub fn look_at_base(&self) -> Result<ResolvedBase> {
        self.resolver().resolve_locked(&self.cluster.base, &mut self.lock.clone())
    }

    /// Lets the next prepared bases have the newest packages: the lock file pins none until then.
    pub fn give_up_packages(&mut self) -> Result<()> {
        let nodes: Vec<_> = self.cluster.nodes.iter().collect();
        let bases = SharedBases::of(self.cluster)?;
        let others = bases.of_nodes(&nodes)?.into_iter().map(|(base, _)| base.own);
        self.lock.lock.variants.clear();
        for own in std::iter::once(bases.main().own).chain(others) {
            self.lock.lock.pin(&own, PackagePins { newest: true, ..PackagePins::default() });
        }
        self.save_lock()
    }

    fn resolver(&self) -> Resolver<'_> {
        Resolver {
            cache: &self.cache,
            catalogue: &self.catalogue,
            directory: &self.cluster.directory,
            options: self.options,
            progress: self.progress,
        }
    }

    /// Writes what was found out, unless this is only a look.
    pub(super) fn save_lock(&mut self) -> Result<()> {
        if self.cache.is_read_only() { Ok(()) } else { self.lock.save() }
    }
}
