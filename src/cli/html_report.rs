use std::path::PathBuf;

use clap::Args;

use super::cluster::ClusterArgs;
use super::ui::Ui;
use crate::build::OutputFolder;
use crate::overview::{self, BuildNews};
use crate::util::error::Result;

/// Draw the cluster and what was built of it, as one HTML page
///
/// report.html in the folder of the artifacts needs no network and no script, and holds no secret: nodes
/// and their addresses, disks to scale, packages and their licences, what each node has of its own,
/// checksums. `build --report` adds what changed and how long it took.
#[derive(Debug, Args)]
pub(super) struct ReportCommand {
    /// The cluster file [default: cluster.toml]
    file: Option<PathBuf>,

    /// Where the artifacts are [default: the cluster file's folder, or `out`]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

impl ReportCommand {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        let cluster = self.cluster.load(self.file.clone())?;
        let output = OutputFolder::new(self.output.as_deref(), Some(&cluster))?.path;
        let path = overview::write(&cluster, &output, &BuildNews::default())?;
        ui.note(&format!("the report is in {}", path.display()));
        Ok(())
    }
}
