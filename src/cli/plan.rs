use std::fmt::Write as _;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::arguments::{file_and_nodes, select};
use super::cluster::ClusterArgs;
use super::content_diff::content_diff;
use super::output::{print, print_json};
use super::source::{SandboxArgs, SourceArgs};
use super::ui::Ui;
use crate::artifact::Reason;
use crate::build::{ArtifactStatus, Fate, Project, artifact_status};
use crate::change::Change;
use crate::config::{Arch, Cluster, Node};
use crate::guest::vendor_setup::is_networkds;
use crate::image::{Image, ReadOnly};
use crate::plan::{self, SideFile};
use crate::prepare::CacheStatus;
use crate::sandbox::Sandbox;
use crate::secrets::Secrets;
use crate::util::error::{Error, Result};
use crate::util::progress::Progress as _;

/// Show every change that a build makes to the base and to each node
#[derive(Debug, Args)]
pub(super) struct PlanCommand {
    /// The cluster file [default: cluster.toml], then nodes [default: all]
    #[arg(value_name = "[FILE] [NODE]...")]
    arguments: Vec<String>,

    #[command(flatten)]
    cluster: ClusterArgs,

    /// Show how the text of each file differs from the base, which is fetched when it must be
    #[arg(long, conflicts_with = "diff")]
    diff_base: bool,

    /// Show only what differs between the two nodes named
    #[arg(long)]
    diff: bool,

    #[command(flatten)]
    sandbox: SandboxArgs,

    /// Print the plan as JSON
    #[arg(long, conflicts_with_all = ["diff", "diff_base"])]
    json: bool,

    #[command(flatten)]
    source: SourceArgs,
}

impl PlanCommand {
    /// The base, to read in.
    fn open_base(&self, cluster: &Cluster, ui: &Ui) -> Result<Image> {
        let base = Project::open(cluster, &self.source.options(), ui)?.look_at_base()?;
        ui.finish();
        Image::open(Arc::new(ReadOnly(base.disk)), 0)
    }

    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        let (file, names) = file_and_nodes(&self.arguments);
        let cluster = self.cluster.load(file)?;
        let nodes = select(&cluster, names)?;
        let secrets = Secrets::load_or_pretend(&cluster)?;
        let plans = nodes
            .iter()
            .map(|node| Ok((*node, plan::node(&cluster, node, &secrets)?)))
            .collect::<Result<Vec<_>>>()?;

        if self.diff {
            let [(first, one), (second, other)] = plans.as_slice() else {
                return Err(Error::input("`--diff` compares two nodes")
                    .hint("name both: `nodeforge plan --diff server1 agent1`"));
            };
            return print(&difference(&first.hostname, one, &second.hostname, other));
        }
        let prepare = plan::prepare(&cluster)?;
        let handouts = plan::handouts(&cluster, &secrets)?;
        let disks: Vec<_> = plans.iter().map(|(node, changes)| (*node, &**changes)).collect();
        let artifacts = artifact_status(&cluster, &disks, &secrets);
        if self.json {
            let mut json = as_json(&prepare, self.kind(&cluster), &plans, &handouts);
            json["artifacts"] = artifacts?.iter().map(artifact_as_json).collect();
            return print_json(&json);
        }
        let base = if self.diff_base { Some(self.open_base(&cluster, ui)?) } else { None };
        let base = base.as_ref();
        let mut text = String::new();
        section(&mut text, "prepared base", &prepare, base, &[])?;
        self.tell_status(&cluster, &prepare, &mut text);
        for (node, changes) in &plans {
            text.push('\n');
            section(&mut text, &node.hostname, changes, base, &prepare)?;
        }
        if !handouts.is_empty() {
            text.push_str("\nhandouts\n");
        }
        for handout in &handouts {
            show_handout(&mut text, handout);
        }
        match artifacts {
            Ok(artifacts) => tell_artifacts(&artifacts, &mut text),
            Err(error) => {
                let reason = error.to_string();
                let reason = reason.lines().next().unwrap_or_default();
                writeln!(text, "\nartifacts\n  what would be made is not known: {reason}")
                    .expect("writing to a string");
            }
        }
        print(&text)?;
        if !secrets.is_stored() {
            ui.note("note: secrets and ids are made by the first build; those shown are examples");
        }
        Ok(())
    }
}

impl PlanCommand {
    /// Where packages are installed: for a base that is not there yet and does not name its
    /// processor, as if it were this machine's.
    fn kind(&self, cluster: &Cluster) -> Sandbox {
        let own = if cfg!(target_arch = "aarch64") { Arch::Arm64 } else { Arch::Amd64 };
        let is_vouched_for = Project::look(cluster).is_ok_and(|project| project.is_vouched_for());
        self.sandbox.preparation().kind(cluster.base.arch().unwrap_or(own), is_vouched_for)
    }

    fn tell_status(&self, cluster: &Cluster, changes: &[Change], text: &mut String) {
        let mut line = |line: &str| writeln!(text, "  {line}").expect("writing to a string");
        let sandbox = self.kind(cluster);
        line(sandbox.describe());
        if let Err(error) = sandbox.require() {
            let error = error.to_string();
            line(&format!("which fails here: {}", error.lines().next().unwrap_or_default()));
        }
        line("one machine's own files removed: ids, keys, leases, logs, caches");
        line("cloud-init and first-user dialogues off, where the base has them");
        if is_networkds(changes) {
            line("NetworkManager off and netplan's files gone, where the base has them");
        }
        let status =
            Project::look(cluster).and_then(|project| project.status(self.sandbox.preparation()));
        match status {
            Ok(CacheStatus::Cached(key)) => line(&format!("in the cache as {}", &key[..12])),
            Ok(CacheStatus::New) => line("to be made: nothing was prepared for this cluster yet"),
            Ok(CacheStatus::Changed(reasons)) => {
                line(&format!("to be made again: {}", reasons.join(", ")));
            }
            Err(error) => {
                let error = error.to_string();
                let reason = error.lines().next().unwrap_or_default();
                line(&format!(
                    "whether it must be made is known after `nodeforge fetch`: {reason}"
                ));
            }
        }
    }
}

/// The changes under their title; with how files differ from those of `base`, over which `below`
/// has been applied, when there is one.
fn section(
    text: &mut String,
    title: &str,
    changes: &[Change],
    base: Option<&Image>,
    below: &[Change],
) -> Result<()> {
    writeln!(text, "{title}").expect("writing to a string");
    for change in changes {
        writeln!(text, "  {}", plan::describe(change)).expect("writing to a string");
        if let Some(base) = base {
            text.push_str(&content_diff(base, below, &change.action)?);
        }
    }
    Ok(())
}

/// A handout with what is in it, unless that is secret.
fn show_handout(text: &mut String, handout: &SideFile) {
    writeln!(text, "  {}", plan::describe_handout(handout)).expect("writing to a string");
    if !handout.content.secrets.is_empty() {
        return;
    }
    for line in String::from_utf8_lossy(&handout.content.bytes).lines() {
        let line = format!("    | {line}");
        writeln!(text, "{}", line.trim_end()).expect("writing to a string");
    }
}

/// What one has and the other has not, as diff(1) marks it.
fn difference(first: &str, one: &[Change], second: &str, other: &[Change]) -> String {
    let mut text = format!("--- {first}\n+++ {second}\n");
    for (sign, mine, theirs) in [('-', one, other), ('+', other, one)] {
        for change in mine.iter().filter(|change| !theirs.contains(change)) {
            writeln!(text, "{sign} {}", plan::describe(change)).expect("writing to a string");
        }
    }
    text
}

fn as_json(
    prepare: &[Change],
    sandbox: Sandbox,
    plans: &[(&Node, Vec<Change>)],
    handouts: &[SideFile],
) -> Value {
    let list = |changes: &[Change]| changes.iter().map(plan::to_json).collect::<Vec<_>>();
    let nodes: Vec<_> = plans
        .iter()
        .map(|(node, changes)| json!({ "hostname": node.hostname, "changes": list(changes) }))
        .collect();
    let handouts: Vec<_> = handouts.iter().map(plan::handout_to_json).collect();
    json!({ "prepare": list(prepare), "sandbox": sandbox, "nodes": nodes, "handouts": handouts })
}

/// What a build would make and why, one line for each reason.
fn tell_artifacts(artifacts: &[ArtifactStatus], text: &mut String) {
    text.push_str("\nartifacts\n");
    for (fate, title) in [
        (Fate::Kept, "as they would be built"),
        (Fate::Made(Reason::Missing), "to be made"),
        (
            Fate::Made(Reason::Outdated),
            "to be made again, because what they are made from has changed",
        ),
        (Fate::Made(Reason::Edited), "to be made again, because they were changed since"),
        (Fate::Left, "left by earlier builds, and no longer asked for"),
    ] {
        let names = artifacts.iter().filter(|it| it.fate == fate).map(|it| it.name.as_str());
        let names: Vec<_> = names.collect();
        if !names.is_empty() {
            writeln!(text, "  {title}: {}", names.join(", ")).expect("writing to a string");
        }
    }
}

fn artifact_as_json(artifact: &ArtifactStatus) -> Value {
    let fate = match artifact.fate {
        Fate::Kept => "kept",
        Fate::Made(Reason::Missing) => "missing",
        Fate::Made(Reason::Outdated) => "outdated",
        Fate::Made(Reason::Edited) => "edited",
        Fate::Left => "left",
    };
    json!({ "name": artifact.name, "state": fate })
}
