use clap::Args;

use super::cluster::ClusterArgs;
use super::output::print_json;
use super::table::pairs;
use super::ui::Ui;
use crate::base::LockFile;
use crate::build::{PullOptions, pull};
use crate::config::RegistryReference;
use crate::util::error::Result;
use crate::util::progress::Progress as _;

/// Pull a prepared base from a registry into the cache, and pin it
///
/// Beside a cluster file it is pinned in `nodeforge.lock`; without one, the reference must have a digest. Only what
/// the cache lacks is fetched.
#[derive(Debug, Args)]
pub(super) struct PullCommand {
    /// What to pull: `ghcr.io/me/nodeforge:home-arm64`, or `ghcr.io/me/nodeforge@sha256:…`
    #[arg(value_name = "REF")]
    reference: RegistryReference,

    #[command(flatten)]
    cluster: ClusterArgs,

    /// Pin it in place of another that the lock file pins
    #[arg(long, conflicts_with = "locked")]
    update: bool,

    /// Fail rather than change `nodeforge.lock`
    #[arg(long)]
    locked: bool,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl PullCommand {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        let cluster = self.cluster.load_if_any()?;
        let mut lock = match &cluster {
            Some(cluster) => Some(LockFile::open(&cluster.directory)?),
            None => None,
        };
        let options = PullOptions { update: self.update, locked: self.locked };
        let pulled = pull(&self.reference, lock.as_mut(), options, ui)?;
        ui.finish();
        let path = pulled.image.path.display().to_string();
        let digest = format!("sha256:{}", pulled.digest);
        if self.json {
            return print_json(&serde_json::json!({
                "digest": digest,
                "key": pulled.config.key,
                "path": path,
                "sha256": pulled.config.sha256,
                "fetched": pulled.fetched,
            }));
        }
        pairs(&[
            ("digest", &digest),
            ("key", &pulled.config.key),
            ("sha256", &pulled.config.sha256.to_string()),
            ("path", &path),
            ("fetched", &format!("{} bytes", pulled.fetched)),
        ])
    }
}
