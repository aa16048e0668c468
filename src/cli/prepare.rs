use std::path::PathBuf;

use clap::Args;

use super::cluster::ClusterArgs;
use super::output::{print, print_json};
use super::source::{PrepareArgs, SourceArgs};
use super::ui::Ui;
use crate::build::Project;
use crate::util::error::Result;
use crate::util::progress::Progress as _;

/// Prepare the base that all nodes share, and nothing else
#[derive(Debug, Args)]
pub(super) struct PrepareCommand {
    /// The cluster file
    #[arg(help = "The cluster file [default: cluster.toml]")]
    file: Option<PathBuf>,

    #[command(flatten)]
    cluster: ClusterArgs,

    /// Prepare it again even when the cache has it
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

impl PrepareCommand {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        let cluster = self.cluster.load(self.file.clone())?;
        let mut project = Project::open(&cluster, &self.source.options(), ui)?;
        let prepared = project.prepare(self.how.preparation(self.force))?;
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
        print(&format!("{} {}\n", prepared.key, image.path.display()))
    }
}
