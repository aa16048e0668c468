mod bases;
mod content_diff;
mod difference;
mod parts;
mod show;
mod text;

use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::arguments::{file_and_nodes, select};
use super::cluster::ClusterArgs;
use super::output::{print, print_json, print_painted};
use super::source::{SandboxArgs, SourceArgs};
use super::ui::Ui;
use crate::artifact::Reason;
use crate::build::{ArtifactStatus, Fate, Project, artifact_status};
use crate::change::Change;
use crate::config::{Arch, Cluster, Node};
use crate::guest::vendor_setup::is_networkds;
use crate::image::{Image, ReadOnly};
use crate::plan::{self, SideFile};
use crate::sandbox::{Choice, Sandbox};
use crate::secrets::Secrets;
use crate::util::error::{Error, Result};
use crate::util::progress::Progress as _;
use bases::PlannedBase;
use difference::difference;
use parts::NodePlan;
use text::{Detail, PlanText};

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

    /// Show the text of each file, with the name of each secret in place of its value
    #[arg(long, conflicts_with_all = ["diff", "diff_base"])]
    contents: bool,

    /// Show one file of the plan, as the nodes get it, and nothing else
    #[arg(long, value_name = "PATH", conflicts_with_all = ["diff", "diff_base", "contents"])]
    show: Option<String>,

    #[command(flatten)]
    sandbox: SandboxArgs,

    /// Print the plan as JSON
    #[arg(long, conflicts_with_all = ["diff", "diff_base", "contents", "show"])]
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
        let plan_of = |secrets: &Secrets| {
            let plan = |node: &&'_ Node| plan::node(&cluster, node, secrets);
            nodes.iter().map(plan).collect::<Result<Vec<_>>>()
        };
        let real = plan_of(&secrets)?;
        let names = secrets.as_names();
        let shown: Vec<NodePlan<'_>> = nodes.iter().copied().zip(plan_of(&names)?).collect();

        if self.diff {
            let [(first, one), (second, other)] = shown.as_slice() else {
                return Err(Error::input("`--diff` compares two nodes")
                    .hint("name both: `nodeforge plan --diff server1 agent1`"));
            };
            return print(&difference(&first.hostname, one, &second.hostname, other));
        }
        let bases = bases::planned(&cluster, &nodes, self.sandbox.preparation())?;
        // Those of others differ by packages only.
        let prepare = &bases[0].changes;
        let handouts = plan::handouts(&cluster, &names)?;
        if let Some(path) = &self.show {
            return print(&show::show(path, prepare, &shown, &handouts)?);
        }
        let disks: Vec<_> =
            nodes.iter().zip(&real).map(|(node, changes)| (*node, changes.as_slice())).collect();
        let artifacts = artifact_status(&cluster, &disks, &secrets);
        if self.json {
            let mut json = as_json(&bases, self.choose(&cluster).sandbox, &shown, &handouts);
            json["artifacts"] = artifacts?.iter().map(artifact_as_json).collect();
            return print_json(&json);
        }
        let base = if self.diff_base { Some(self.open_base(&cluster, ui)?) } else { None };
        let detail = match &base {
            Some(base) => Detail::DiffBase(base),
            None if self.contents => Detail::Whole,
            None => Detail::None,
        };
        let mut text = PlanText::new(detail, prepare);
        bases::tell_costs(&bases, &mut text);
        text.prepared(prepare)?;
        self.tell_sandbox(&cluster, prepare, &mut text);
        text.line(&format!("  {}", bases::describe(&bases[0].status)));
        bases::tell_others(&bases, &mut text);
        text.nodes(&shown)?;
        text.handouts(&handouts);
        text.line("");
        text.title("artifacts");
        match artifacts {
            Ok(artifacts) => tell_artifacts(&artifacts, &mut text),
            Err(error) => {
                let reason = error.to_string();
                let reason = reason.lines().next().unwrap_or_default();
                text.line(&format!("  what would be made is not known: {reason}"));
            }
        }
        print_painted(&text.finish())?;
        if !secrets.is_stored() {
            ui.note("note: keys and ids are made by the first build; those shown are examples");
        }
        Ok(())
    }
}

impl PlanCommand {
    /// Where packages are installed: for a base that is not there yet and does not name its processor, as
    /// if it were this machine's.
    fn choose(&self, cluster: &Cluster) -> Choice {
        let arch = cluster.base.arch().unwrap_or(Arch::HOST);
        let is_vouched_for = Project::look(cluster).is_ok_and(|project| project.is_vouched_for());
        self.sandbox.preparation().choose(arch, is_vouched_for)
    }

    fn tell_sandbox(&self, cluster: &Cluster, changes: &[Change], text: &mut PlanText<'_>) {
        let mut line = |line: &str| text.line(&format!("  {line}"));
        let first_line =
            |error: &Error| error.to_string().lines().next().unwrap_or_default().to_owned();
        let choice = self.choose(cluster);
        line(choice.sandbox.describe());
        if let Some(error) = choice.instead_of_userns {
            line(&format!("`userns`, which is faster, fails here: {}", first_line(&error)));
        }
        if let Some(error) = choice.refusal {
            line(&format!("which fails here: {}", first_line(&error)));
        }
        line("one machine's own files removed: ids, keys, leases, logs, caches");
        line("cloud-init and first-user dialogues off, where the base has them");
        if is_networkds(changes) {
            line("NetworkManager off and netplan's files gone, where the base has them");
        }
    }
}

fn as_json(
    bases: &[PlannedBase<'_>],
    sandbox: Sandbox,
    plans: &[NodePlan<'_>],
    handouts: &[SideFile],
) -> Value {
    let list = |changes: &[Change]| changes.iter().map(plan::to_json).collect::<Vec<_>>();
    let nodes: Vec<_> = plans
        .iter()
        .map(|(node, changes)| json!({ "hostname": node.hostname, "changes": list(changes) }))
        .collect();
    let handouts: Vec<_> = handouts.iter().map(plan::handout_to_json).collect();
    json!({
        "prepare": list(&bases[0].changes),
        "sandbox": sandbox,
        "bases": bases.iter().map(PlannedBase::to_json).collect::<Vec<_>>(),
        "nodes": nodes,
        "handouts": handouts,
    })
}

/// What a build would make and why, one line for each reason.
fn tell_artifacts(artifacts: &[ArtifactStatus], text: &mut PlanText<'_>) {
    for (fate, title) in [
        (Fate::Kept, "as they would be built"),
        (Fate::Made(Reason::Missing), "to be made"),
        (
            Fate::Made(Reason::Outdated),
            "to be made again, because what they are made from has changed",
        ),
        (
            Fate::Made(Reason::Edited),
            "to be made again, because there is more in them than was built",
        ),
        (Fate::Edited, "changed since they were built, and replaced only with `--replace`"),
        (Fate::Left, "left by earlier builds, no longer asked for, and removed with `--prune`"),
    ] {
        let names = artifacts.iter().filter(|it| it.fate == fate).map(|it| it.name.as_str());
        let names: Vec<_> = names.collect();
        if !names.is_empty() {
            text.line(&format!("  {title}: {}", names.join(", ")));
        }
    }
}

fn artifact_as_json(artifact: &ArtifactStatus) -> Value {
    let fate = match artifact.fate {
        Fate::Kept => "kept",
        Fate::Made(Reason::Missing) => "missing",
        Fate::Made(Reason::Outdated) => "outdated",
        Fate::Made(Reason::Edited) | Fate::Edited => "edited",
        Fate::Left => "left",
    };
    json!({ "name": artifact.name, "state": fate })
}
