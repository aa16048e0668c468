use std::path::{Path, PathBuf};

use clap::Args;

use super::cluster::ClusterArgs;
use super::output::{print, print_json};
use super::source::{PrepareArgs, SourceArgs};
use super::ui::Ui;
use crate::artifact::chosen;
use crate::build::{Options, Preparation, Project, bases_for};
use crate::config::{Cluster, RegistryReference};
use crate::registry::Pushed;
use crate::util::error::{Error, Result};
use crate::util::progress::Progress as _;

/// Push the prepared bases of a cluster to a registry
///
/// They are prepared first where the cache does not have them. Only what the registry lacks is sent.
#[derive(Debug, Args)]
pub(super) struct PushCommand {
    /// The cluster file, and where to push: `ghcr.io/me/nodeforge`, or with a tag
    /// [default: cluster.toml, and its `[cache] registry`]
    #[arg(value_name = "FILE|REF", num_args = 0..=2)]
    arguments: Vec<String>,

    #[command(flatten)]
    cluster: ClusterArgs,

    #[command(flatten)]
    how: PrepareArgs,

    #[command(flatten)]
    source: SourceArgs,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl PushCommand {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        let (file, place) = sort(&self.arguments)?;
        let cluster = self.cluster.load(file)?;
        let options = self.how.options(&self.source);
        let place = match place {
            Some(place) => place,
            None => options.registry_of(&cluster).ok_or_else(|| {
                Error::input("neither the command line nor [cache] names a registry")
                    .hint("`nodeforge push ghcr.io/me/nodeforge`, or `registry = \"ghcr.io/me/nodeforge\"` in [cache]")
            })?,
        };
        if place.digest.is_some() {
            return Err(Error::input(format!(
                "`{place}` has a digest: what is pushed gets its own"
            ))
            .hint("leave it out"));
        }
        let pushed = self.push_all(&cluster, &place, &options, ui)?;
        ui.finish();
        if self.json {
            let all: Vec<_> = pushed.iter().map(as_json).collect();
            return print_json(&serde_json::json!({ "pushed": all }));
        }
        let lines: Vec<_> = pushed.iter().map(|it| format!("{}\n", it.place)).collect();
        print(&lines.concat())
    }

    fn push_all(
        &self,
        cluster: &Cluster,
        place: &RegistryReference,
        options: &Options,
        ui: &Ui,
    ) -> Result<Vec<Pushed>> {
        let mut project = Project::open(cluster, options, ui)?;
        let nodes: Vec<_> = cluster.nodes.iter().collect();
        let bases = bases_for(cluster, &chosen(cluster), &nodes)?;
        if bases.len() > 1 && place.tag.is_some() {
            let names: Vec<_> = bases.iter().map(|(base, _)| base.name.as_str()).collect();
            return Err(Error::input(format!(
                "the cluster has {} prepared bases, and `{place}` is a name for one: {}",
                bases.len(),
                names.join(", ")
            ))
            .hint("leave out the tag: each base has its own"));
        }
        let mut all = Vec::new();
        for (base, _) in bases {
            // It goes where the command line says, and nowhere else.
            let how = Preparation { stays_here: true, ..self.how.preparation(false) };
            let prepared = project.prepare(how, &base)?;
            let pushed = project.push(place, &base, &prepared)?;
            ui.note(&format!(
                "{} of {} windows are new, {} bytes were sent",
                pushed.windows - pushed.known,
                pushed.windows,
                pushed.sent
            ));
            all.push(pushed);
        }
        Ok(all)
    }
}

fn as_json(pushed: &Pushed) -> serde_json::Value {
    serde_json::json!({
        "reference": pushed.place.to_string(),
        "digest": format!("sha256:{}", pushed.digest),
        "sent": pushed.sent,
        "windows": pushed.windows,
        "new_windows": pushed.windows - pushed.known,
    })
}

/// Sorts `[FILE] [REF]`: what is a file, or is called like a cluster file, is the file.
fn sort(arguments: &[String]) -> Result<(Option<PathBuf>, Option<RegistryReference>)> {
    let is_file = |it: &String| it.ends_with(".toml") || Path::new(it).is_file();
    match arguments {
        [] => Ok((None, None)),
        [one] if is_file(one) => Ok((Some(one.into()), None)),
        [one] => Ok((None, Some(one.parse()?))),
        [file, place, ..] => Ok((Some(file.into()), Some(place.parse()?))),
    }
}
