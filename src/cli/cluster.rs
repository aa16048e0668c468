//! What commands that read a cluster file have in common.

use std::path::{Path, PathBuf};

use clap::Args;

use super::arguments::CLUSTER_FILE;
use super::ui::Ui;
use crate::artifact;
use crate::config::{Cluster, Inputs, RoleKind, Setting};
use crate::plan;
use crate::util::calendar;
use crate::util::error::{Error, Result};
use crate::util::progress::Progress as _;
use crate::versions::{self, VersionSupport};

/// What a cluster is described by.
#[derive(Debug, Args)]
pub(super) struct ClusterArgs {
    /// A cluster file; of several, laid over each other, a later one counts
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,

    /// A value in place of the cluster file's: `disk.size=8G`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

impl ClusterArgs {
    /// The cluster; `file` is the one on the command line without `-f`.
    pub(super) fn load(&self, file: Option<PathBuf>) -> Result<Cluster> {
        let files = match (file, self.files.as_slice()) {
            (Some(_), [_, ..]) => {
                return Err(Error::input("cluster files are named both with and without `-f`")
                    .hint("name all of them with `-f`"));
            }
            (Some(file), []) => vec![file],
            (None, []) => vec![PathBuf::from(CLUSTER_FILE)],
            (None, files) => files.to_vec(),
        };
        Inputs { files, sets: self.sets.clone() }.load(artifact::format_rules())
    }

    /// The cluster that is described here: by what the command line names, or by `cluster.toml`. `None`
    /// where there is neither.
    pub(super) fn load_if_any(&self) -> Result<Option<Cluster>> {
        let is_named = !self.files.is_empty() || !self.sets.is_empty();
        if !is_named && !Path::new(CLUSTER_FILE).exists() {
            return Ok(None);
        }
        self.load(None).map(Some)
    }
}

/// Notes what is valid and rarely meant.
pub(super) fn note_oddities(cluster: &Cluster, ui: &Ui) -> Result<()> {
    warn_of_versions(cluster, ui);
    for (message, hint) in plan::advice(cluster)? {
        ui.warn(&message);
        if let Some(hint) = hint {
            ui.note(&format!("hint: {hint}"));
        }
    }
    if cluster.access.is_closed() {
        ui.note("note: no user can log in: [access] has neither SSH keys nor a password");
        ui.note("hint: `build` refuses that, unless `login = false` says that nobody is to");
    }
    let kinds = cluster.nodes.iter().filter_map(|node| cluster.profile.role(&node.role)?.kind);
    let controls = kinds.filter(|kind| *kind == RoleKind::ControlPlane).count();
    // What they decide, more than half of them decide.
    if controls > 0 && controls.is_multiple_of(2) {
        let fewer = controls - 1;
        ui.note(&format!(
            "note: {controls} control planes survive no more failures than {fewer} and fail more often: \
             use an odd number"
        ));
    }
    Ok(())
}

/// Warns of programs that their publishers do not support for long any more.
fn warn_of_versions(cluster: &Cluster, ui: &Ui) {
    let today = calendar::today();
    for (name, spec) in &cluster.profile.settings {
        let (Some(program), Some(Setting::String(version))) =
            (&spec.program, cluster.settings.get(name))
        else {
            continue;
        };
        if let VersionSupport::Doubtful(why) = versions::support(program, version, &today) {
            ui.warn(&format!("`{name} = \"{version}\"`: {why}"));
        }
    }
}
