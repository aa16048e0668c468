use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use clap::Args;

use super::arguments::{file_and_nodes, select};
use super::cluster::{ClusterArgs, note_oddities};
use super::output::{print, print_json};
use super::source::{PrepareArgs, SourceArgs};
use super::table::table;
use super::ui::{Ui, bytes, seconds};
use crate::artifact::{Artifact, ArtifactFormat, Manifest, chosen, format_named, format_names};
use crate::build::{BuildRequest, Built, OutputFolder, Project, StampedNode, build};
use crate::config::Cluster;
use crate::image::FsckPolicy;
use crate::overview::{self, BuildNews};
use crate::util::error::Result;
use crate::util::progress::Progress as _;

/// Build every node's artifacts
#[derive(Debug, Args)]
pub(super) struct BuildCommand {
    /// The cluster file [default: cluster.toml], then the nodes to build [default: all]
    #[arg(value_name = "[FILE] [NODE]...")]
    arguments: Vec<String>,

    /// Where artifacts go, instead of the cluster file's folder
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,

    /// Replace another cluster's artifacts, files that no build made or that were changed since, and
    /// machines that were started with all that is on their disks
    #[arg(long)]
    replace: bool,

    /// Remove what earlier builds made of nodes and in formats that are no longer asked for
    #[arg(long)]
    prune: bool,

    /// What to make, instead of the cluster file's formats
    #[arg(long, value_name = "FORMAT", value_delimiter = ',', value_parser = parse_format)]
    format: Vec<&'static ArtifactFormat>,

    /// How many nodes and artifacts to work on at once [default: one per processor]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// Compare the contents of artifacts that are there with their checksums, not only sizes and times
    #[arg(long)]
    check: bool,

    /// Whether e2fsck and fsck.fat check every node: `auto` does where they are installed
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    fsck: FsckPolicy,

    /// Prepare the base again even when the cache has it
    #[arg(long)]
    no_cache: bool,

    #[command(flatten)]
    how: PrepareArgs,

    #[command(flatten)]
    cluster: ClusterArgs,

    #[command(flatten)]
    source: SourceArgs,

    /// Write report.html beside the artifacts, with what this build changed and how long it took
    #[arg(long)]
    report: bool,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl BuildCommand {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        let (file, names) = file_and_nodes(&self.arguments);
        let cluster = self.cluster.load(file)?;
        let nodes = select(&cluster, names)?;
        let output = &OutputFolder::new(self.output.as_deref(), Some(&cluster))?.path;
        let formats = if self.format.is_empty() { chosen(&cluster) } else { self.format.clone() };
        let jobs = self.jobs.or_else(|| available_parallelism().ok()).map_or(1, usize::from);

        note_oddities(&cluster, ui)?;

        let mut project = Project::open(&cluster, &self.how.options(&self.source), ui)?;
        let request = BuildRequest {
            nodes,
            output,
            formats: &formats,
            jobs,
            fsck: self.fsck,
            replace: self.replace,
            prunes: self.prune,
            // Who asks for one of these wants to see it done.
            makes_all: self.replace || self.no_cache || self.fsck == FsckPolicy::Always,
            compares_contents: self.check,
            preparation: self.how.preparation(self.no_cache),
        };
        let mut previous = None;
        if self.report {
            overview::refuse_foreign(output)?;
            previous = Manifest::previous(output, &cluster.name);
        }
        let built = build(&mut project, &request)?;
        ui.finish();
        if self.report {
            let news = BuildNews { previous, timings: ui.timings() };
            let path = overview::write(&cluster, output, &news)?;
            ui.note(&format!("the report is in {}", path.display()));
        }

        if self.json {
            print_json(&built.manifest)?;
        } else {
            print_table(&built, &cluster, ui, output)?;
        }
        self.tell_left(&built.left, ui);
        Ok(())
    }
}

impl BuildCommand {
    fn tell_left(&self, left: &[String], ui: &Ui) {
        if left.is_empty() {
            return;
        }
        let names = left.join(", ");
        if self.prune {
            ui.note(&format!("removed, because no longer asked for: {names}"));
        } else {
            ui.note(&format!("left by earlier builds, and no longer asked for: {names}"));
            ui.note("hint: `build --prune` removes them");
        }
    }
}

fn parse_format(name: &str) -> Result<&'static ArtifactFormat, String> {
    format_named(name).ok_or_else(|| {
        let known: Vec<_> = format_names().collect();
        format!("the formats are {}", known.join(", "))
    })
}

fn print_table(built: &Built<'_>, cluster: &Cluster, ui: &Ui, output: &Path) -> Result<()> {
    let stamped = built.bases.iter().flat_map(|it| &it.nodes);
    let artifacts = built.bases.iter().flat_map(|it| &it.artifacts).chain(&built.side_files);
    let nodes: BTreeMap<_, _> = stamped.map(|it| (it.node.hostname.as_str(), it)).collect();
    let order = |artifact: &Artifact| {
        let mut nodes = cluster.nodes.iter();
        let position = nodes.position(|it| Some(&it.hostname) == artifact.node.as_ref());
        (position.map_or(0, |position| position + 1), artifact.name.clone())
    };
    let mut sorted: Vec<_> = artifacts.collect();
    sorted.sort_by_key(|artifact| order(artifact));
    let rows: Vec<_> = sorted
        .into_iter()
        .map(|artifact| {
            let node = artifact.node.as_deref().and_then(|name| nodes.get(name));
            let role = |name: &str| {
                let node = cluster.nodes.iter().find(|node| node.hostname == name);
                node.map_or_else(String::new, |node| node.role.clone())
            };
            vec![
                artifact.node.clone().unwrap_or_else(|| "(all)".into()),
                artifact.node.as_deref().map_or_else(String::new, role),
                artifact.name.clone(),
                bytes(artifact.occupied),
                stamped_in(artifact, node.copied()),
                if artifact.is_kept { "kept".to_owned() } else { seconds(artifact.elapsed) },
            ]
        })
        .collect();
    let headings = ["NODE", "ROLE", "ARTIFACT", "ON DISK", "STAMP", "WRITE"];
    print(&table(&headings, &[3, 4, 5], &rows))?;
    let timings: Vec<_> = ui
        .timings()
        .iter()
        .map(|(stage, elapsed)| format!("{stage} {}", seconds(*elapsed)))
        .collect();
    if built.is_unchanged {
        ui.note("\neverything is there already as it would be built");
        return Ok(());
    }
    let was_cached = built.bases.iter().all(|it| it.prepared.base.image.was_cached);
    let cached = match built.bases.len() {
        _ if !was_cached => "",
        1 => "prepared base from the cache; ",
        _ => "prepared bases from the cache; ",
    };
    ui.note(&format!("\n{cached}{}", timings.join(", ")));
    ui.note(&format!("artifacts are in {}", output.display()));
    Ok(())
}

/// How long stamping its node took, where that was for this artifact.
fn stamped_in(artifact: &Artifact, node: Option<&StampedNode<'_>>) -> String {
    node.filter(|_| !artifact.is_kept).map_or_else(String::new, |it| seconds(it.elapsed))
}
