//! What commands that need a base have in common.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::base::{Catalogue, Obtained, Options, Source, Supplies};
use crate::cache::Cache;
use crate::change::{Action, Change};
use crate::config::{Arch, Base, Cluster};
use crate::image::{Architecture, Image, edit};
use crate::util::error::{Error, Result};
use crate::util::progress::Progress;
use crate::{disk, plan};

/// How a base may be obtained.
#[derive(Debug, Args)]
pub(super) struct SourceArgs {
    /// Fail rather than change `nodeforge.lock`
    #[arg(long)]
    pub(super) locked: bool,

    /// Use what is in the cache, fetch nothing
    #[arg(long)]
    pub(super) offline: bool,

    /// A catalogue of your own [default: ~/.config/nodeforge/catalogue.toml]
    #[arg(long, value_name = "FILE", env = "NODEFORGE_CATALOGUE")]
    catalogue: Option<PathBuf>,
}

impl SourceArgs {
    /// Fetches nothing, and writes nothing.
    pub(super) fn only_looking() -> Self {
        Self { locked: true, offline: true, catalogue: None }
    }

    pub(super) fn catalogue(&self) -> Result<Catalogue> {
        Catalogue::load(self.catalogue.as_deref())
    }

    /// A cluster's base, as its lock file pins it.
    pub(super) fn obtain(
        &self,
        cluster: &Cluster,
        cache: &Cache,
        update: bool,
        progress: &dyn Progress,
    ) -> Result<Obtained> {
        if let Base::Path { path, .. } = &cluster.base
            && path.exists()
        {
            edit::finish(path)?;
        }
        let catalogue = self.catalogue()?;
        self.source(cache, &catalogue, &cluster.directory, update, progress)
            .obtain_locked(&cluster.base)
    }

    /// What a cluster needs from elsewhere besides its base, as its lock file pins it.
    pub(super) fn supply(
        &self,
        cluster: &Cluster,
        cache: &Cache,
        base: &Path,
        update: bool,
        progress: &dyn Progress,
    ) -> Result<Supplies> {
        let catalogue = self.catalogue()?;
        let changes = plan::prepare(cluster)?;
        // An image is not looked into for nothing.
        let depends =
            |change: &Change| matches!(change.action, Action::Download { arch: Some(_), .. });
        let arch = if changes.iter().any(depends) { Some(arch_of(base)?) } else { None };
        self.source(cache, &catalogue, &cluster.directory, update, progress).supply(&changes, arch)
    }

    /// An image of the catalogue, without a cluster.
    pub(super) fn obtain_named(
        &self,
        name: &str,
        cache: &Cache,
        progress: &dyn Progress,
    ) -> Result<Obtained> {
        let catalogue = self.catalogue()?;
        self.source(cache, &catalogue, Path::new("."), false, progress)
            .obtain(&Base::Catalogue(name.to_owned()), None)
    }

    fn source<'a>(
        &self,
        cache: &'a Cache,
        catalogue: &'a Catalogue,
        directory: &'a Path,
        update: bool,
        progress: &'a dyn Progress,
    ) -> Source<'a> {
        let options = Options { offline: self.offline, locked: self.locked, update };
        Source { cache, catalogue, directory, options, progress }
    }
}

/// What the programs of a cluster's base run on; whoever said so must be right.
pub(super) fn arch_of_base(cluster: &Cluster, path: &Path) -> Result<Arch> {
    let arch = arch_of(path)?;
    match cluster.base.arch() {
        Some(said) if said != arch => {
            let (arch, said) = (arch.name(), said.name());
            Err(Error::input(format!("the base is for {arch}, and [base] says {said}"))
                .hint(format!("`arch = \"{arch}\"`, or another image")))
        }
        _ => Ok(arch),
    }
}

/// What an image's programs run on.
pub(super) fn arch_of(path: &Path) -> Result<Arch> {
    let image = Image::open(disk::open(path)?, 0)?;
    match image.architecture()? {
        Some(Architecture::Amd64) => Ok(Arch::Amd64),
        Some(Architecture::Arm64) => Ok(Arch::Arm64),
        Some(other) => Err(Error::input(format!(
            "`{}` is for {other}; nodeforge knows amd64 and arm64",
            path.display()
        ))),
        None => Err(Error::input(format!("`{}` holds no programs", path.display()))),
    }
}
