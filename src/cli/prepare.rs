use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::cluster::ClusterArgs;
use super::output::{print, print_json};
use super::source::{PrepareArgs, SourceArgs};
use super::ui::Ui;
use crate::artifact::chosen;
use crate::build::{PreparedCluster, Project, bases_for};
use crate::util::error::Result;
use crate::util::progress::Progress as _;

/// Prepare the bases that nodes share, and nothing else
///
/// Nodes that have the same packages share one.
#[derive(Debug, Args)]
pub(super) struct PrepareCommand {
    /// The cluster file
    #[arg(help = "The cluster file [default: cluster.toml]")]
    file: Option<PathBuf>,

    #[command(flatten)]
    cluster: ClusterArgs,

    /// Prepare them again even when the cache has them
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
        let mut project = Project::open(&cluster, &self.how.options(&self.source), ui)?;
        let nodes: Vec<_> = cluster.nodes.iter().collect();
        let mut bases = Vec::new();
        for (base, _) in bases_for(&cluster, &chosen(&cluster), &nodes)? {
            let prepared = project.prepare(self.how.preparation(self.force), &base)?;
            bases.push((base, prepared));
        }
        ui.finish();
        if self.json {
            let mut first = bases.first().map(|(_, it)| as_json(it)).unwrap_or_default();
            let all = bases.iter().map(|(base, prepared)| {
                let mut json = as_json(prepared);
                json["name"] = base.name.as_str().into();
                json
            });
            first["bases"] = all.collect();
            return print_json(&first);
        }
        let line = |prepared: &PreparedCluster| {
            format!("{} {}\n", prepared.key, prepared.base.image.path.display())
        };
        print(&bases.iter().map(|(_, it)| line(it)).collect::<String>())
    }
}

fn as_json(prepared: &PreparedCluster) -> Value {
    let image = &prepared.base.image;
    json!({
        "key": prepared.key,
        "path": image.path.display().to_string(),
        "sha256": image.about.sha256,
        "packages": image.about.packages,
    })
}
