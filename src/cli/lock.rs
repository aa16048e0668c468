use std::path::PathBuf;

use clap::Args;

use super::cluster::ClusterArgs;
use super::output::print_json;
use super::source::SourceArgs;
use super::table::pairs;
use super::ui::Ui;
use crate::build::{Options, Project};
use crate::util::error::Result;
use crate::util::progress::Progress as _;

/// Write `nodeforge.lock`, or check that it need not change
#[derive(Debug, Args)]
pub(super) struct LockCommand {
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

impl LockCommand {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        let cluster = self.cluster.load(self.file.clone())?;
        let options = Options { update: self.update, ..self.source.options() };
        let mut project = Project::open(&cluster, &options, ui)?;
        let before = project.lock.lock.clone();
        let base = project.base()?;
        project.inputs(&base, &[])?;
        if self.update {
            project.give_up_packages()?;
        }
        ui.finish();
        let is_written = project.lock.lock != before;
        let path = project.lock.path();
        if self.json {
            return print_json(&serde_json::json!({
                "path": path.display().to_string(),
                "written": is_written,
                "origin": base.origin,
                "locked": base.locked,
            }));
        }
        let change = if is_written { "written" } else { "unchanged" };
        ui.note(&format!("`{}` is {change}", path.display()));
        pairs(&[
            ("base", &base.origin),
            ("verified", &base.verified),
            ("sha256", &base.sha256.to_string()),
        ])
    }
}
