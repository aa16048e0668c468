use std::path::PathBuf;

use clap::Args;

use super::cluster::ClusterArgs;
use super::output::print_json;
use super::source::{SourceArgs, arch_of_base};
use super::ui::Ui;
use crate::artifact::{InputRecord, PreparedBase};
use crate::base::{Lock, would_change};
use crate::cache::{Cache, Package};
use crate::change::{Action, Change, Checksum};
use crate::config::{Arch, Cluster};
use crate::inspect::sbom::Download;
use crate::prepare::{Outlook, Request};
use crate::sandbox::Sandbox;
use crate::util::error::{Error, Result};
use crate::util::progress::{Progress, Silent};
use crate::util::sha256::Sha256;

/// Prepare the base that all nodes share, and nothing else
#[derive(Debug, Args)]
pub(super) struct Prepare {
    /// The cluster file
    #[arg(help = "The cluster file [default: cluster.toml]")]
    file: Option<PathBuf>,

    #[command(flatten)]
    cluster: ClusterArgs,

    /// Prepare it anew even when the cache has it
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    how: PrepareArgs,

    #[command(flatten)]
    source: SourceArgs,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// The prepared base, and what is to be said of it.
pub(super) struct Obtained {
    pub(super) base: PreparedBase,
    /// The hash of everything that went in.
    pub(super) key: String,
    /// The base below it, and what else came from elsewhere.
    pub(super) inputs: Vec<InputRecord>,
    /// Files that went into it from elsewhere.
    pub(super) downloads: Vec<Download>,
}

impl Prepare {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        let cluster = self.cluster.load(self.file.clone())?;
        let prepared = self.how.obtain(&cluster, &self.source, self.force, ui)?;
        ui.finish();
        let image = &prepared.base.image;
        if self.json {
            return print_json(&serde_json::json!({
                "key": prepared.key,
                "path": image.path.display().to_string(),
                "sha256": image.about.sha256,
                "packages": image.about.packages,
            }));
        }
        anstream::println!("{} {}", prepared.key, image.path.display());
        Ok(())
    }
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
}

impl PrepareArgs {
    /// The cluster's prepared base, from the cache or made now; always made now when `anew`.
    pub(super) fn obtain(
        &self,
        cluster: &Cluster,
        source: &SourceArgs,
        anew: bool,
        progress: &dyn Progress,
    ) -> Result<Obtained> {
        if self.shell_on_failure {
            self.require_terminal()?;
        }
        // Before anything is fetched. Root is refused nothing, and others have no choice; but what is
        // prepared already needs no sandbox.
        if let Err(error) = self.sandbox.sandbox.unwrap_or(Sandbox::Userns).require()
            && (anew || !self.sandbox.is_cached(cluster))
        {
            return Err(error);
        }
        let cache = Cache::open()?;
        let base = source.obtain(cluster, &cache, false, progress)?;
        let arch = arch_of_base(cluster, &base.path)?;
        let supplies = source.supply(cluster, &cache, &base.path, false, progress)?;

        let path = Lock::path(&cluster.directory);
        let before = Lock::load(&path)?;
        let purpose = purpose(base.sha256, &supplies.changes)?;
        let sandbox = self.sandbox.kind(arch);
        let pinned = pinned(&before, purpose);
        if source.locked && pinned.is_none() && sandbox != Sandbox::None {
            return Err(would_change(&path, "it does not pin the packages of this base"));
        }
        if source.locked
            && sandbox == Sandbox::None
            && supplies.changes.iter().any(Change::installs)
        {
            progress.warn(
                "packages are left to each node's first boot, which installs the newest of that day: \
                 `--locked` does not hold them",
            );
        }
        let request = Request {
            cluster,
            supplies: &supplies,
            base: &base.path,
            base_sha256: base.sha256,
            arch,
            sandbox,
            locked: pinned.unwrap_or_default(),
            anew: anew || (before.newest_packages && sandbox != Sandbox::None),
            offline: source.offline,
            shell_on_failure: self.shell_on_failure,
        };
        let prepared = request.prepare(&cache, progress)?;
        if sandbox != Sandbox::None {
            let packages = &prepared.image.about.packages;
            let mut lock = before.clone();
            lock.packages_for = Some(purpose);
            lock.newest_packages = false;
            lock.packages = packages.iter().filter(|it| it.sha256.is_some()).cloned().collect();
            if source.locked && lock != before {
                return Err(would_change(&path, "it pins other packages than are installed"));
            }
            lock.save_changes(&before, &path)?;
        }

        let downloads = supplies.changes.iter().filter_map(|change| match &change.action {
            Action::Download { url, checksum: Checksum::Sha256(sha256), path, .. } => {
                Some(Download { path: path.clone(), url: url.clone(), sha256: *sha256 })
            }
            _ => None,
        });
        let downloads = downloads.collect();
        let mut inputs =
            vec![InputRecord { name: "base".into(), origin: base.origin, sha256: base.sha256 }];
        inputs.extend(supplies.all.into_iter().map(|it| InputRecord {
            name: "download".into(),
            origin: it.url,
            sha256: it.sha256,
        }));
        Ok(Obtained {
            base: PreparedBase::new(prepared.image, arch),
            key: prepared.key,
            inputs,
            downloads,
        })
    }

    /// A shell is for somebody to type in, and for a place where something runs.
    fn require_terminal(&self) -> Result<()> {
        if self.sandbox.sandbox == Some(Sandbox::None) {
            return Err(Error::input("`--shell-on-failure` has no effect with `--sandbox none`")
                .hint("no package is installed, so none can fail to be"));
        }
        std::fs::File::open("/dev/tty").map(drop).map_err(|_| {
            Error::input("`--shell-on-failure` needs a terminal, and there is none")
                .hint("without it the error says where the full log is")
        })
    }
}

impl SandboxArgs {
    /// Where programs of images of `arch` run.
    pub(super) fn kind(&self, arch: Arch) -> Sandbox {
        self.sandbox.unwrap_or_else(|| Sandbox::choose(arch))
    }

    /// Whether the cache has what would be prepared.
    fn is_cached(&self, cluster: &Cluster) -> bool {
        matches!(self.outlook(cluster), Ok(Outlook::Cached(_)))
    }

    /// What preparing would do, as far as it can be told without fetching anything.
    pub(super) fn outlook(&self, cluster: &Cluster) -> Result<Outlook> {
        let cache = Cache::open()?;
        let source = SourceArgs::only_looking();
        let base = source.obtain(cluster, &cache, false, &Silent)?;
        let arch = arch_of_base(cluster, &base.path)?;
        let supplies = source.supply(cluster, &cache, &base.path, false, &Silent)?;
        let lock = Lock::load(&Lock::path(&cluster.directory))?;
        let sandbox = self.kind(arch);
        let request = Request {
            cluster,
            supplies: &supplies,
            base: &base.path,
            base_sha256: base.sha256,
            arch,
            sandbox,
            locked: pinned(&lock, purpose(base.sha256, &supplies.changes)?).unwrap_or_default(),
            anew: lock.newest_packages && sandbox != Sandbox::None,
            offline: true,
            shell_on_failure: false,
        };
        request.outlook(&cache)
    }
}

/// The packages of a lock that was written for the same purpose.
fn pinned(lock: &Lock, purpose: Sha256) -> Option<&[Package]> {
    (lock.packages_for == Some(purpose)).then_some(&lock.packages)
}

/// What packages are installed for, in one hash that changes when the same may not do any more.
fn purpose(base_sha256: Sha256, changes: &[Change]) -> Result<Sha256> {
    let relevant: Vec<_> = changes
        .iter()
        .map(|change| &change.action)
        .filter(|action| match action {
            Action::Package { .. } | Action::AptSource { .. } => true,
            Action::File { path, .. } => path.starts_with("/etc/apt/"),
            _ => false,
        })
        .collect();
    let text = serde_json::to_vec(&(base_sha256, relevant))
        .map_err(|error| Error::failure(error.to_string()))?;
    Ok(Sha256::of(&text))
}
