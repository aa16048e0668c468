use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use clap::Args;

use super::cluster::{ClusterArgs, note_oddities};
use super::output::print_json;
use super::source::SourceArgs;
use super::table::table;
use super::time::rfc3339;
use super::ui::{Ui, bytes, seconds};
use super::{file_and_nodes, select};
use crate::artifact::{
    Artifact, ArtifactFormat, ArtifactRecord, Batch, DiskInputs, FileRecord, InputRecord, Manifest,
    NodeDisk, NodeRecord, PreparedBase, Staging, chosen, format_named, format_names, in_use,
    outdated, unchanged, write_side_files, write_synced,
};
use crate::change::{Action, Change};
use crate::cli::prepare;
use crate::config::{Cluster, HostKeys, Node};
use crate::disk::{CLUSTER, Delta, Disk, Overlay};
use crate::image::{FsckPolicy, Image};
use crate::inspect::sbom::{self, Subject};
use crate::secrets::Secrets;
use crate::util::error::{Context, Error, Result};
use crate::util::hash;
use crate::util::parallel::parallel;
use crate::util::progress::Progress as _;
use crate::{apply, artifact, plan};

/// Build every node's artifacts
#[derive(Debug, Args)]
pub(super) struct Build {
    /// The cluster file [default: cluster.toml], then the nodes to build [default: all]
    #[arg(value_name = "[FILE] [NODE]...")]
    arguments: Vec<String>,

    /// Where artifacts go, instead of the cluster file's folder
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,

    /// Replace another cluster's artifacts, and machines that were started with all that is on their
    /// disks
    #[arg(long)]
    replace: bool,

    /// What to make, instead of the cluster file's formats
    #[arg(long, value_name = "FORMAT", num_args = 1.., value_delimiter = ',', value_parser = parse_format)]
    format: Vec<&'static ArtifactFormat>,

    /// How many nodes and artifacts to work on at once [default: one per processor]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// Whether e2fsck checks every node: `auto` does where it is installed
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    fsck: FsckPolicy,

    /// Prepare the base anew even when the cache has it
    #[arg(long)]
    no_cache: bool,

    #[command(flatten)]
    sandbox: prepare::PrepareArgs,

    #[command(flatten)]
    cluster: ClusterArgs,

    #[command(flatten)]
    source: SourceArgs,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What ssh(1) checks the nodes by: `UserKnownHostsFile`.
const KNOWN_HOSTS: &str = "known_hosts";

/// What the image is made of.
const SBOM: &str = "sbom.spdx.json";

/// So many nodes are stamped before their artifacts are written: deltas wait for that in memory.
const GROUP: usize = 16;

/// A node with what a stamp made of it.
struct Stamped<'a> {
    node: &'a Node,
    delta_bytes: u64,
    files: Vec<FileRecord>,
    elapsed: Duration,
}

impl Build {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        let (file, names) = file_and_nodes(&self.arguments);
        let cluster = self.cluster.load(file)?;
        let nodes = select(&cluster, names)?;
        let output = self.output.as_ref().unwrap_or(&cluster.output.directory);
        let formats = if self.format.is_empty() { chosen(&cluster) } else { self.format.clone() };
        let jobs = self.jobs.or_else(|| available_parallelism().ok()).map_or(1, usize::from);

        note_oddities(&cluster, ui);

        let secrets = Secrets::load_or_create(&cluster)?;
        secrets.check_expiry(&cluster)?;
        // Every plan before any work: a template that does not render costs no evening.
        let plans = nodes
            .iter()
            .map(|node| Ok((*node, plan::node(&cluster, node, &secrets)?)))
            .collect::<Result<Vec<_>>>()?;
        let template_plan = plan::template(&cluster)?;
        let handouts = plan::handouts(&cluster, &secrets)?;

        let staging = Staging::new(output)?;
        if !self.replace {
            refuse_another(&cluster.name, output)?;
            let names = formats
                .iter()
                .flat_map(|format| nodes.iter().filter_map(|node| format.of_node(&node.hostname)));
            refuse_started(&cluster.name, names, output)?;
        }
        let prepared = self.sandbox.obtain(&cluster, &self.source, self.no_cache, ui)?;

        let (key, clock) = (secrets.inputs_key(), apply::clock()?);
        let inputs = |changes: &[Change]| DiskInputs::new(key, &prepared.key, changes, clock);
        let template_inputs = inputs(&template_plan)?;
        let template = stamp_one(&prepared.base, &template_plan, self.fsck)
            .context(|| "stamping the template".to_owned())?;

        let (mut stamped, mut artifacts) = (Vec::new(), Vec::new());
        let groups = plans.len().div_ceil(GROUP);
        for (index, group) in plans.chunks(GROUP).enumerate() {
            let part =
                if groups > 1 { format!(", {} of {groups}", index + 1) } else { String::new() };
            ui.stage(&format!("stamping nodes{part}"));
            let made = parallel(jobs, group, |(node, changes)| {
                let started = Instant::now();
                let delta = stamp_one(&prepared.base, changes, self.fsck)
                    .context(|| format!("stamping `{}`", node.hostname))?;
                let (files, delta_bytes) = (file_records(changes), delta.len() as u64 * CLUSTER);
                let inputs = inputs(changes)?;
                let stamped = Stamped { node, delta_bytes, files, elapsed: started.elapsed() };
                Ok((stamped, delta, inputs))
            })?;

            ui.stage(&format!("writing artifacts{part}"));
            let disks: Vec<NodeDisk<'_>> = made
                .iter()
                .map(|(it, delta, inputs)| NodeDisk { hostname: &it.node.hostname, delta, inputs })
                .collect();
            let template = NodeDisk { hostname: "", delta: &template, inputs: &template_inputs };
            let batch = Batch {
                cluster: &cluster,
                prepared: &prepared.base,
                template,
                nodes: &disks,
                makes_shared: index == 0,
            };
            artifacts.extend(artifact::write(&batch, &formats, &staging, jobs, ui)?);
            stamped.extend(made.into_iter().map(|(it, ..)| it));
        }
        artifacts.extend(write_side_files(&handouts, &staging)?);

        ui.stage("publishing");
        let sbom = describe(&cluster, &prepared)?;
        write_synced(&staging.path(SBOM), sbom.as_bytes())?;
        let mut files: Vec<_> = artifacts.iter().flat_map(|it| it.files.clone()).collect();
        files.push(ArtifactRecord::of_bytes(SBOM, sbom.as_bytes()));
        let manifest = manifest(&cluster, &prepared, &stamped, files, output)?;
        let mut names: Vec<&str> = artifacts.iter().map(|it| it.name.as_str()).collect();
        // What others stand on goes first: at no moment does a child lack its parent.
        names.sort_by_key(|name| artifacts.iter().any(|it| it.name == *name && it.node.is_some()));
        manifest.write(&staging.path(""))?;
        names.push(SBOM);
        if cluster.host_keys == HostKeys::Build {
            write_synced(&staging.path(KNOWN_HOSTS), known_hosts(&cluster, &secrets)?.as_bytes())?;
            names.push(KNOWN_HOSTS);
        }
        // Checksums that are there are right, and no child stands on a base that it was not made for,
        // whenever this is cut short.
        let outdated = outdated(&cluster.name, &artifacts, output);
        let is_built = |name: &str| stamped.iter().any(|it| it.node.hostname == name);
        if let Some((name, node)) = outdated.iter().find(|(_, node)| !is_built(node)) {
            return Err(Error::input(format!("`{name}` stands on a base that has changed since"))
                .hint(format!("build `{node}` as well, or choose another folder with `-o`")));
        }
        let unchanged = unchanged(&cluster.name, &artifacts, output);
        names.retain(|name| !unchanged.contains(*name));
        if !self.replace {
            let shared = artifacts.iter().filter(|it| it.node.is_none()).map(|it| it.name.clone());
            let changed = shared.filter(|name| !unchanged.contains(name));
            refuse_started(&cluster.name, changed, output)?;
        }
        staging.withdraw([Manifest::SUMS])?;
        staging.withdraw(outdated.iter().map(|(name, _)| name.as_str()))?;
        names.extend([Manifest::NAME, Manifest::SUMS]);
        staging.publish(names)?;
        ui.finish();

        if self.json {
            print_json(&manifest)
        } else {
            print_table(&stamped, &artifacts, &prepared, ui, output)
        }
    }
}

fn parse_format(name: &str) -> Result<&'static ArtifactFormat, String> {
    format_named(name).ok_or_else(|| {
        let known: Vec<_> = format_names().collect();
        format!("the formats are {}", known.join(", "))
    })
}

/// Of one folder there is one manifest, and clusters may have nodes of the same names.
fn refuse_another(cluster: &str, output: &Path) -> Result<()> {
    match Manifest::read(output).map(|it| it.cluster).filter(|other| other != cluster) {
        Some(other) => {
            let output = output.display();
            Err(Error::input(format!("`{output}` holds the artifacts of the cluster `{other}`"))
                .hint("choose another folder with `-o`")
                .hint(format!("`--replace` gives it to `{cluster}`")))
        }
        None => Ok(()),
    }
}

/// Machines are not replaced unasked once they were started.
fn refuse_started(
    cluster: &str,
    names: impl IntoIterator<Item = String>,
    output: &Path,
) -> Result<()> {
    let lost = in_use(cluster, names, output);
    if lost.is_empty() {
        return Ok(());
    }
    let (were, disks) = if lost.len() == 1 { ("was", "its disk") } else { ("were", "their disks") };
    let names: Vec<_> = lost.iter().map(|name| format!("`{name}`")).collect();
    let names = names.join(", ");
    Err(Error::input(format!("{names} {were} started since the last build: {disks} would be lost"))
        .hint("name the nodes that are to be built, or choose another folder with `-o`")
        .hint("`--replace` throws away what is on them"))
}

/// What a node's disk differs in after its plan was carried out.
pub(super) fn stamp_one(
    base: &PreparedBase,
    changes: &[Change],
    fsck: FsckPolicy,
) -> Result<Delta> {
    let overlay = Arc::new(Overlay::new(Arc::clone(&base.disk)));
    let disk: Arc<dyn Disk> = overlay.clone();
    let mut image = Image::open(disk, apply::clock()?)?;
    apply::apply_to_image(&mut image, changes)?;
    image.verify()?;
    image.fsck(fsck)?;
    drop(image);
    let overlay = Arc::into_inner(overlay)
        .ok_or_else(|| Error::failure("the image is still in use after it was closed"))?;
    Ok(overlay.into_delta()?)
}

/// The SBOM of what all nodes share: a stamp brings no software.
fn describe(cluster: &Cluster, prepared: &prepare::Obtained) -> Result<String> {
    let image = Image::open(Arc::clone(&prepared.base.disk), 0)?;
    let subject = Subject {
        name: &cluster.name,
        sha256: &prepared.base.image.about.sha256,
        created: &rfc3339(apply::clock()?),
        downloads: &prepared.downloads,
    };
    let document = sbom::describe(&image, &subject).context(|| "listing what is installed")?;
    Ok(format!("{document:#}\n"))
}

/// A line for every node, under all names and addresses that are known of it.
fn known_hosts(cluster: &Cluster, secrets: &Secrets) -> Result<String> {
    let mut text = String::new();
    for node in &cluster.nodes {
        let mut names = vec![node.hostname.clone()];
        names.extend(cluster.domain.iter().map(|domain| format!("{}.{domain}", node.hostname)));
        names.extend(node.addresses.iter().map(|address| address.addr().to_string()));
        let key = &secrets.ssh_host_key(&node.hostname)?.public;
        // The comment at its end is for the node's own file.
        let key: Vec<&str> = key.split_whitespace().take(2).collect();
        writeln!(text, "{} {}", names.join(","), key.join(" ")).expect("writing to a string");
    }
    Ok(text)
}

/// Files of a plan, without those made from secrets: a hash of a short secret can be guessed.
fn file_records(changes: &[Change]) -> Vec<FileRecord> {
    changes
        .iter()
        .filter_map(|change| match &change.action {
            Action::File { path, content, .. } if content.secrets.is_empty() => Some(FileRecord {
                path: path.clone(),
                sha256: hash::hex(&hash::sha256(&content.bytes)),
            }),
            _ => None,
        })
        .collect()
}

fn manifest(
    cluster: &Cluster,
    prepared: &prepare::Obtained,
    stamped: &[Stamped<'_>],
    artifacts: Vec<ArtifactRecord>,
    output: &Path,
) -> Result<Manifest> {
    let name = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
    // Files by their names, which is all that reproduces elsewhere; overrides by theirs.
    let sources = cluster.sources.iter().map(|source| InputRecord {
        name: if source.name.starts_with(['-', '$']) { "override" } else { "cluster file" }.into(),
        origin: name(&source.name),
        sha256: hash::hex(&hash::sha256(source.text.as_bytes())),
    });
    let mut inputs: Vec<InputRecord> = sources.collect();
    inputs.extend(prepared.inputs.iter().cloned());
    inputs.push(InputRecord {
        name: "prepared base".into(),
        origin: format!("cache key {}", prepared.key),
        sha256: prepared.base.image.about.sha256.clone(),
    });
    let mut manifest = Manifest {
        generator: format!("nodeforge {}", env!("CARGO_PKG_VERSION")),
        cluster: cluster.name.clone(),
        profile: cluster.profile.name.clone(),
        inputs,
        packages: prepared.base.image.about.packages.clone(),
        nodes: stamped
            .iter()
            .map(|it| NodeRecord {
                hostname: it.node.hostname.clone(),
                role: it.node.role.clone(),
                delta_bytes: it.delta_bytes,
                files: it.files.clone(),
            })
            .collect(),
        artifacts,
    };
    manifest.artifacts.sort();
    manifest.merge_previous(output)?;
    Ok(manifest)
}

fn print_table(
    stamped: &[Stamped<'_>],
    artifacts: &[Artifact],
    prepared: &prepare::Obtained,
    ui: &Ui,
    output: &Path,
) -> Result<()> {
    let nodes: BTreeMap<_, _> = stamped.iter().map(|it| (it.node.hostname.as_str(), it)).collect();
    let order = |artifact: &Artifact| {
        let position = stamped
            .iter()
            .position(|it| Some(it.node.hostname.as_str()) == artifact.node.as_deref());
        (position.map_or(0, |position| position + 1), artifact.name.clone())
    };
    let mut sorted: Vec<_> = artifacts.iter().collect();
    sorted.sort_by_key(|artifact| order(artifact));
    let rows: Vec<_> = sorted
        .into_iter()
        .map(|artifact| {
            let node = artifact.node.as_deref().and_then(|name| nodes.get(name));
            vec![
                artifact.node.clone().unwrap_or_else(|| "(all)".into()),
                node.map_or_else(String::new, |it| it.node.role.clone()),
                artifact.name.clone(),
                bytes(artifact.occupied),
                node.map_or_else(String::new, |it| seconds(it.elapsed)),
                seconds(artifact.elapsed),
            ]
        })
        .collect();
    let headings = ["NODE", "ROLE", "ARTIFACT", "ON DISK", "STAMP", "WRITE"];
    let mut out = std::io::stdout();
    write!(out, "{}", table(&headings, &[3, 4, 5], &rows))?;
    let timings: Vec<_> = ui
        .timings()
        .iter()
        .map(|(stage, elapsed)| format!("{stage} {}", seconds(*elapsed)))
        .collect();
    let was_cached = prepared.base.image.was_cached;
    let cached = if was_cached { "prepared base from the cache; " } else { "" };
    ui.note(&format!("\n{cached}{}", timings.join(", ")));
    ui.note(&format!("artifacts are in {}", output.display()));
    Ok(())
}
