use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;

use super::output::{print, print_json, width};
use super::place::ReadArgs;
use super::table::table;
use super::ui::{Ui, bytes};
use crate::artifact::disk_of;
use crate::guest::first_boot::FirstBoot;
use crate::guest::identity::MachineId;
use crate::inspect::{BuildFacts, NodeFacts, PartitionFacts, Report, Segment, System, draw};
use crate::util::error::Result;
use crate::util::printable::printable;

/// Show what is in an image: its partitions, its system, and what nodeforge made of it
///
/// Reads raw images, qcow2, VMDK with its parents, `.vmwarevm` bundles, .xz, .zst and .gz, and block
/// devices. Nothing is written.
#[derive(Debug, Args)]
pub(super) struct InspectCommand {
    /// An image, or a node that was built
    #[arg(value_name = "NODE|IMAGE")]
    image: PathBuf,

    /// Print the facts as JSON; sizes are in bytes
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    images: ReadArgs,
}

impl InspectCommand {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        let image = self.images.find(&self.image)?;
        let mut report = Report::of(&disk_of(&image), self.images.backing())?;
        report.image = image.display().to_string();
        if self.json {
            return print_json(&report);
        }
        print(&render(&report))?;
        for note in &report.notes {
            ui.note(&format!("note: {}", printable(note)));
        }
        Ok(())
    }
}

fn render(report: &Report) -> String {
    let mut text = format!("{}: {}, {}", report.image, report.format, bytes(report.size));
    match &report.partition_table {
        Some(table) => write!(text, ", {} {}", table.scheme.to_uppercase(), table.disk_id),
        None => write!(text, ", no partition table"),
    }
    .expect("writing to a string");
    text.push_str("\n\n");
    let segments: Vec<Segment> = report.partitions.iter().map(segment).collect();
    if let Some(map) = draw(report.size, &segments, width().clamp(40, 120)) {
        text.push_str(&map);
        text.push('\n');
    }
    text.push_str(&partition_table(&report.partitions));
    let mut facts = Vec::new();
    if let Some(system) = &report.system {
        facts.extend(system_facts(system));
    }
    if let Some(node) = &report.nodeforge {
        facts.extend(node_facts(node));
    }
    if let Some(build) = &report.build {
        let BuildFacts { generator, cluster, profile, .. } = build;
        facts.push(("built by", format!("{generator}, cluster {cluster}, profile {profile}")));
    }
    if !facts.is_empty() {
        text.push('\n');
    }
    for (name, value) in facts {
        writeln!(text, "{name:<14}{}", printable(&value)).expect("writing to a string");
    }
    text
}

fn segment(part: &PartitionFacts) -> Segment {
    let name = [&part.mount_point, &part.label, &part.name, &part.kind];
    let name = name.into_iter().flatten().next().map_or_else(String::new, |name| printable(name));
    Segment {
        range: part.start..part.start.saturating_add(part.size),
        title: part.number.map_or_else(String::new, |number| number.to_string()),
        lines: vec![name, part.file_system.clone().unwrap_or_default(), bytes(part.size)],
        usage: part.used.zip(part.free).map(|(used, free)| (used, used.saturating_add(free))),
    }
}

fn partition_table(partitions: &[PartitionFacts]) -> String {
    let headings =
        ["NUMBER", "START", "SIZE", "TYPE", "FILE SYSTEM", "LABEL", "MOUNTED ON", "USED", "FREE"];
    let text = |value: &Option<String>| value.as_deref().map_or_else(|| "-".into(), printable);
    let size = |value: Option<u64>| value.map_or_else(|| "-".into(), bytes);
    let row = |part: &PartitionFacts| {
        vec![
            part.number.map_or_else(|| "-".into(), |number| number.to_string()),
            bytes(part.start),
            bytes(part.size),
            text(&part.kind),
            text(&part.file_system),
            text(&part.label),
            text(&part.mount_point),
            size(part.used),
            size(part.free),
        ]
    };
    let rows: Vec<Vec<String>> = partitions.iter().map(row).collect();
    table(&headings, &[0, 1, 2, 7, 8], &rows)
}

fn system_facts(system: &System) -> Vec<(&'static str, String)> {
    let machine_id = match &system.machine_id {
        MachineId::Set(id) => id.clone(),
        MachineId::Uninitialized => "made on first boot".into(),
        MachineId::Empty => "made on every boot until one is kept".into(),
        MachineId::Missing => "missing".into(),
    };
    let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
    let kernels = match &system.kernels[..] {
        [] => "-".into(),
        kernels => kernels.join(", "),
    };
    vec![
        ("system", known(&system.os)),
        ("architecture", known(&system.architecture)),
        ("hostname", known(&system.hostname)),
        ("machine id", machine_id),
        ("packages", system.packages.map_or_else(|| "-".into(), |count| count.to_string())),
        ("kernels", kernels),
    ]
}

fn node_facts(node: &NodeFacts) -> Vec<(&'static str, String)> {
    let open: Vec<&str> =
        node.steps.iter().filter(|step| !step.done).map(|step| step.name.as_str()).collect();
    let first_boot = match node.first_boot {
        FirstBoot::Done => "done".to_owned(),
        FirstBoot::Pending | FirstBoot::Begun if open.is_empty() => "pending".to_owned(),
        FirstBoot::Pending => format!("pending: {}", open.join(", ")),
        FirstBoot::Begun => format!("begun, to be done: {}", open.join(", ")),
    };
    vec![
        ("role", node.role.clone().unwrap_or_else(|| "found on first boot".into())),
        ("first boot", first_boot),
    ]
}
