//! Arguments of commands that need a base.

use std::path::PathBuf;

use clap::Args;

use crate::base::Catalogue;
use crate::build::{Options, Preparation, RegistryChoice};
use crate::config::RegistryReference;
use crate::sandbox::Sandbox;
use crate::util::error::{Error, Result};

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

/// Where programs of images run.
#[derive(Debug, Args)]
pub(super) struct SandboxArgs {
    /// Where programs of the image run [default: the best that this machine allows]
    #[arg(long, value_name = "KIND", value_enum)]
    sandbox: Option<Sandbox>,
}

/// How the base is prepared.
#[derive(Debug, Args)]
pub(super) struct PrepareArgs {
    #[command(flatten)]
    sandbox: SandboxArgs,

    /// Open a shell in the sandbox when packages cannot be installed
    #[arg(long)]
    shell_on_failure: bool,

    /// Where others' prepared bases are looked for: `ghcr.io/me/nodeforge`, or `none` [default: the cluster file's]
    #[arg(long, value_name = "REPOSITORY", value_parser = registry)]
    registry: Option<RegistryChoice>,
}

/// A repository, or `none`.
fn registry(text: &str) -> Result<RegistryChoice> {
    if text == "none" {
        return Ok(RegistryChoice::Nothing);
    }
    let place: RegistryReference = text.parse()?;
    match place.target() {
        None => Ok(RegistryChoice::Named(place)),
        Some(_) => Err(Error::input("it names more than a repository")),
    }
}

impl SourceArgs {
    pub(super) fn options(&self) -> Options {
        Options {
            offline: self.offline,
            locked: self.locked,
            update: false,
            registry: RegistryChoice::AsFile,
            catalogue: self.catalogue.clone(),
        }
    }

    pub(super) fn catalogue(&self) -> Result<Catalogue> {
        Catalogue::load(self.catalogue.as_deref())
    }
}

impl SandboxArgs {
    pub(super) fn preparation(&self) -> Preparation {
        Preparation { sandbox: self.sandbox, ..Preparation::default() }
    }
}

impl PrepareArgs {
    /// How the network, the lock file and registries are used.
    pub(super) fn options(&self, source: &SourceArgs) -> Options {
        Options { registry: self.registry.clone().unwrap_or_default(), ..source.options() }
    }

    /// `force`: even when the cache has it.
    pub(super) fn preparation(&self, force: bool) -> Preparation {
        Preparation { force, shell_on_failure: self.shell_on_failure, ..self.sandbox.preparation() }
    }
}
