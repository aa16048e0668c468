//! Stage 1: a base becomes the prepared base that all nodes share.

mod apt;
mod apt_output;
mod firmware;
mod generalise;
mod inside;
mod job;
mod lent;
mod live;
mod log;
pub(crate) mod mkfs;
mod packages;
mod partitions;
mod root;
pub mod sandbox;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::config::Cluster;
use crate::digest;
use crate::disk::Raw;
use crate::error::{Error, Result};
use crate::plan::{Action, Change};
use crate::progress::Progress;
use crate::source::{self, Cache, Package, Supplies};
pub(crate) use apt_output::{Watcher, failure};
pub(crate) use generalise::generalise;
pub(crate) use inside::first_boot;
pub(crate) use job::Job;
pub(crate) use live::LiveTree;
pub(crate) use log::Log;
pub(crate) use packages::{STATUS, installed};

/// Raised when the same changes come to mean another image.
const RECIPE: u32 = 1;

/// How an image's root is made reachable for its programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sandbox {
    /// As root: the image itself, mounted through a loop device in a private mount namespace.
    Loop,
    /// As anybody: unpacked in a user namespace, and packed again.
    Userns,
}

/// A prepared base.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// A raw image in the cache.
    pub image: PathBuf,
    /// The hash of everything that went in: 64 hexadecimal digits.
    pub key: String,
    /// SHA-256 of the image: 64 hexadecimal digits.
    pub sha256: String,
    /// What is installed in it, sorted.
    pub packages: Vec<Package>,
    /// Whether it was in the cache already.
    pub was_cached: bool,
}

impl Sandbox {
    /// The better one of those that this host allows.
    pub fn choose() -> Self {
        let has_loop = || File::options().write(true).open("/dev/loop-control").is_ok();
        if sandbox::is_root() && has_loop() { Self::Loop } else { Self::Userns }
    }
}

/// Prepares `base`, a raw image, or finds it in the cache prepared like this before.
///
/// The changes are those that all nodes share, in their order. None may hold a secret: what
/// is prepared stays in the cache, readable by whoever can read that. `anew` prepares even what the
/// cache has.
pub fn prepare(
    cluster: &Cluster,
    supplies: &Supplies,
    base: &Path,
    cache: &Cache,
    sandbox: Sandbox,
    anew: bool,
    progress: &dyn Progress,
) -> Result<Prepared> {
    let changes = supplies.changes.as_slice();
    refuse_secrets(changes)?;
    let base_sha256 = if let Some(about) = cache.about(base) {
        about.sha256
    } else {
        progress.stage("hashing the base");
        digest::sha256_of_disk(&Raw::open(base)?)?
    };
    let from = serde_json::json!({ "recipe": RECIPE, "base": base_sha256, "changes": changes });
    let key = digest::hex(&digest::sha256(from.to_string().as_bytes()));
    let log = cache.folder("logs")?.join(format!("prepare-{}-{}.log", cluster.name, &key[..12]));
    let was_cached = !anew && cache.find("prepared", &key).is_some();
    let image = cache.image("prepared", &key, anew, progress, |folder, disk| {
        progress.stage("growing the disk");
        let parts = partitions::lay_out(base, disk, new_size(changes), sandbox)?;
        let job = inside::PrepareJob {
            sandbox,
            base: base.to_owned(),
            place: parts.root,
            firmware: parts.firmware,
            changes: changes.to_vec(),
            files: supplies.all.iter().map(|it| (it.sha256.clone(), it.path.clone())).collect(),
            archives: cache.folder("debs")?,
            log,
        };
        let order = sandbox::Order {
            job: Job::Prepare(job),
            scratch: folder.join("scratch"),
            temporary: folder.to_owned(),
        };
        let packages = sandbox::run(&order, progress)?;
        let from = serde_json::json!({ "recipe": RECIPE, "base": base_sha256 });
        Ok(source::Made { from, sha256: None, packages })
    })?;
    Ok(Prepared {
        image: image.path,
        key,
        sha256: image.about.sha256,
        packages: image.about.packages,
        was_cached,
    })
}

fn new_size(changes: &[Change]) -> Option<u64> {
    changes.iter().rev().find_map(|change| match change.action {
        Action::Grow { size } => Some(size),
        _ => None,
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

/// Seconds since 1970: `SOURCE_DATE_EPOCH`, else now.
pub(crate) fn clock() -> i64 {
    let fixed = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok());
    fixed.unwrap_or_else(|| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|since| i64::try_from(since.as_secs()).ok())
            .unwrap_or(0)
    })
}
