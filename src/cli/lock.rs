use std::path::PathBuf;

use clap::Args;

use super::cluster::ClusterArgs;
use super::output::print_json;
use super::source::SourceArgs;
use super::table::pairs;
use super::ui::Ui;
use crate::base::Lock as LockFile;
use crate::cache::Cache;
use crate::util::error::Result;
use crate::util::progress::Progress as _;

/// Write `nodeforge.lock`, or check that it need not change
#[derive(Debug, Args)]
pub(super) struct Lock {
    /// The cluster file
    #[arg(help = "The cluster file [default: cluster.toml]")]
    file: Option<PathBuf>,

    #[command(flatten)]
    cluster: ClusterArgs,

    /// Move on to the newest of everything
    #[arg(long, conflicts_with = "locked")]
    update: bool,

    #[command(flatten)]
    source: SourceArgs,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Lock {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        let cluster = self.cluster.load(self.file.clone())?;
        let path = LockFile::path(&cluster.directory);
        let before = LockFile::load(&path)?;
        let cache = Cache::open()?;
        let obtained = self.source.obtain(&cluster, &cache, self.update, ui)?;
        self.source.supply(&cluster, &cache, &obtained.path, self.update, ui)?;
        if self.update {
            let before = LockFile::load(&path)?;
            let mut lock = before.clone();
            lock.packages_for = None;
            lock.newest_packages = true;
            lock.packages.clear();
            lock.save_changes(&before, &path)?;
        }
        ui.finish();
        let is_written = LockFile::load(&path)? != before;
        if self.json {
            return print_json(&serde_json::json!({
                "path": path.display().to_string(),
                "written": is_written,
                "origin": obtained.origin,
                "locked": obtained.locked,
            }));
        }
        let change = if is_written { "written" } else { "unchanged" };
        ui.note(&format!("`{}` is {change}", path.display()));
        pairs(&[
            ("base", &obtained.origin),
            ("verified", &obtained.locked.verified),
            ("sha256", &obtained.sha256.to_string()),
        ])
    }
}
