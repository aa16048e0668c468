use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::cluster::ClusterArgs;
use super::output::print_json;
use super::source::SourceArgs;
use super::ui::Ui;
use crate::config::{Arch, Checksum, Cluster};
use crate::disk::{self, Raw};
use crate::emit::{InputRecord, PreparedBase};
use crate::error::{Error, Result};
use crate::image::{Architecture, Image};
use crate::plan::Action;
use crate::progress::Progress;
use crate::sbom::Download;
use crate::source::{Cache, Package, Supplies};

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
    pub(super) packages: Vec<Package>,
    /// Files that went into it from elsewhere.
    pub(super) downloads: Vec<Download>,
    /// Whether an earlier run had made it.
    pub(super) was_cached: bool,
}

impl Prepare {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        let cluster = self.cluster.load(self.file.clone())?;
        let prepared = obtain(&cluster, &self.source, self.force, ui)?;
        ui.finish();
        let path = prepared.base.path.display();
        if self.json {
            return print_json(&serde_json::json!({
                "key": prepared.key,
                "path": prepared.base.path,
                "sha256": prepared.base.sha256,
                "packages": prepared.packages,
            }));
        }
        anstream::println!("{} {path}", prepared.key);
        Ok(())
    }
}

/// The cluster's prepared base, from the cache or made now; always made now when `anew`.
pub(super) fn obtain(
    cluster: &Cluster,
    source: &SourceArgs,
    anew: bool,
    progress: &dyn Progress,
) -> Result<Obtained> {
    let cache = Cache::open()?;
    let base = source.obtain(cluster, &cache, false, progress)?;
    let supplies = source.supply(cluster, &cache, &base.path, false, progress)?;
    let prepared = prepare_base(cluster, &supplies, &base.path, &cache, anew, progress)?;
    let downloads = supplies.changes.iter().filter_map(|change| match &change.action {
        Action::Download { url, checksum: Checksum::Sha256(sha256), path, .. } => {
            Some(Download { path: path.clone(), url: url.clone(), sha256: sha256.clone() })
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
    let disk = Arc::new(Raw::open(&prepared.image)?);
    let arch = arch_of(&prepared.image)?;
    Ok(Obtained {
        base: PreparedBase { path: prepared.image, disk, sha256: prepared.sha256, arch },
        key: prepared.key,
        inputs,
        packages: prepared.packages,
        downloads,
        was_cached: prepared.was_cached,
    })
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

/// What preparing hands on.
struct PreparedImage {
    image: PathBuf,
    key: String,
    sha256: String,
    packages: Vec<Package>,
    was_cached: bool,
}

#[cfg(target_os = "linux")]
fn prepare_base(
    cluster: &Cluster,
    supplies: &Supplies,
    base: &Path,
    cache: &Cache,
    anew: bool,
    progress: &dyn Progress,
) -> Result<PreparedImage> {
    use crate::prepare::{self, Sandbox};
    let prepared =
        prepare::prepare(cluster, supplies, base, cache, Sandbox::choose(), anew, progress)?;
    Ok(PreparedImage {
        image: prepared.image,
        key: prepared.key,
        sha256: prepared.sha256,
        packages: prepared.packages,
        was_cached: prepared.was_cached,
    })
}

#[cfg(not(target_os = "linux"))]
fn prepare_base(
    _cluster: &Cluster,
    _supplies: &Supplies,
    _base: &Path,
    _cache: &Cache,
    _anew: bool,
    _progress: &dyn Progress,
) -> Result<PreparedImage> {
    Err(Error::failure("a base can be prepared on Linux only: programs of the image run for it")
        .hint("build on Linux; the artifacts can be inspected, changed and flashed here"))
}
