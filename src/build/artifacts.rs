//! Every node's artifacts: planned, stamped, written into a staging folder, published.

use std::path::Path;

use super::guards::{refuse_another, refuse_foreign, refuse_started};
use super::known_hosts::{KNOWN_HOSTS, known_hosts};
use super::prepared::{Preparation, PreparedCluster};
use super::project::Project;
use super::records::{self, SBOM};
use super::stale::shared_inputs;
use super::stamp::{StampedNode, stamp, stamp_node};
use crate::apply;
use crate::artifact::{
    self, Artifact, ArtifactFormat, ArtifactRecord, Batch, DiskInputs, Manifest, NodeDisk, Staging,
    outdated, unchanged, write_side_files, write_synced,
};
use crate::change::Change;
use crate::config::{HostKeys, Node};
use crate::disk::Delta;
use crate::image::FsckPolicy;
use crate::plan::{self, SideFile};
use crate::secrets::Secrets;
use crate::util::error::{Context, Error, Result};
use crate::util::parallel::parallel;
use crate::util::room::{self, FolderUse};

/// So many nodes are stamped before their artifacts are written: deltas wait for that in memory.
const GROUP: usize = 16;

/// What is to be built, and how.
pub struct BuildRequest<'a> {
    /// The nodes, in the order of the cluster file.
    pub nodes: Vec<&'a Node>,
    /// Where artifacts go.
    pub output: &'a Path,
    /// What is made of each node.
    pub formats: &'a [&'static ArtifactFormat],
    /// How many nodes and artifacts are worked on at once.
    pub jobs: usize,
    /// Whether e2fsck checks every node.
    pub fsck: FsckPolicy,
    /// Whether another cluster's artifacts, and machines that were started, may be replaced.
    pub replace: bool,
    /// How the base is prepared.
    pub preparation: Preparation,
}

/// What a build made.
pub struct Built<'a> {
    /// What is published with it.
    pub manifest: Manifest,
    /// The nodes, in the order of the cluster file.
    pub nodes: Vec<StampedNode<'a>>,
    /// The artifacts of nodes, and those that nodes share.
    pub artifacts: Vec<Artifact>,
    /// What they were made from.
    pub prepared: PreparedCluster,
}

/// Everything that is decided before any work: a template that does not render costs no evening.
struct Plans<'a> {
    secrets: Secrets,
    nodes: Vec<(&'a Node, Vec<Change>)>,
    template: Vec<Change>,
    side_files: Vec<SideFile>,
}

/// Builds nodes' artifacts and publishes them, whole or not at all.
pub fn build<'a>(project: &mut Project<'_>, request: &BuildRequest<'a>) -> Result<Built<'a>> {
    let plans = Plans::make(project, &request.nodes)?;
    let staging = Staging::new(request.output)?;
    if !request.replace {
        refuse_to_lose(project, request, &plans.side_files)?;
    }
    let prepared = project.prepare(request.preparation)?;
    let full = |error| room::explain(error, request.output, FolderUse::Output, None);
    let made = make(project, request, &plans, &prepared, &staging).map_err(full)?;
    project.progress.stage("publishing");
    let manifest = publish(project, request, &plans, &prepared, &made, &staging).map_err(full)?;
    let (nodes, artifacts) = made;
    Ok(Built { manifest, nodes, artifacts, prepared })
}

impl<'a> Plans<'a> {
    fn make(project: &Project<'_>, nodes: &[&'a Node]) -> Result<Self> {
        let cluster = project.cluster;
        let secrets = Secrets::load_or_create(cluster)?;
        secrets.check_expiry(cluster)?;
        let plans = nodes.iter().map(|node| Ok((*node, plan::node(cluster, node, &secrets)?)));
        Ok(Self {
            nodes: plans.collect::<Result<_>>()?,
            template: plan::template(cluster)?,
            side_files: plan::handouts(cluster, &secrets)?,
            secrets,
        })
    }
}

/// Refuses, before anything is made, what would replace another cluster's artifacts, a file that no
/// build made, or a machine's disk.
fn refuse_to_lose(
    project: &Project<'_>,
    request: &BuildRequest<'_>,
    side_files: &[SideFile],
) -> Result<()> {
    let cluster = &project.cluster.name;
    refuse_another(cluster, request.output)?;
    let mut expected = artifact::expected(project.cluster, request.formats, &request.nodes);
    let of_all = [Manifest::NAME, Manifest::SUMS, SBOM];
    expected.extend(of_all.map(str::to_owned));
    expected.extend((project.cluster.host_keys == HostKeys::Build).then(|| KNOWN_HOSTS.to_owned()));
    expected.extend(side_files.iter().map(|it| it.top().to_owned()));
    let expected = expected.iter().map(String::as_str);
    refuse_foreign(project.cluster, expected, side_files, request.output)?;
    let names = request
        .formats
        .iter()
        .flat_map(|format| request.nodes.iter().filter_map(|node| format.of_node(&node.hostname)));
    refuse_started(cluster, names, request.output)
}

/// Stamps the nodes and writes their artifacts into the staging folder, a group at a time.
fn make<'a>(
    project: &Project<'_>,
    request: &BuildRequest<'a>,
    plans: &Plans<'a>,
    prepared: &PreparedCluster,
    staging: &Staging,
) -> Result<(Vec<StampedNode<'a>>, Vec<Artifact>)> {
    let (base, jobs, progress) = (&prepared.base, request.jobs, project.progress);
    let (key, clock) = (plans.secrets.inputs_key(), apply::clock()?);
    let shared = shared_inputs(project.cluster, &project.lock)?;
    let inputs = |changes: &[Change]| DiskInputs::new(key, shared, changes, clock);
    let template_inputs = inputs(&plans.template)?;
    let template = stamp(base, &plans.template, request.fsck)
        .context(|| "stamping the template".to_owned())?;
    let (mut stamped, mut artifacts) = (Vec::new(), Vec::new());
    let groups = plans.nodes.len().div_ceil(GROUP);
    for (index, group) in plans.nodes.chunks(GROUP).enumerate() {
        let part = if groups > 1 { format!(", {} of {groups}", index + 1) } else { String::new() };
        progress.stage(&format!("stamping nodes{part}"));
        let made: Vec<(StampedNode<'a>, Delta, DiskInputs)> =
            parallel(jobs, group, |(node, changes)| {
                let (stamped, delta) = stamp_node(base, node, changes, request.fsck)?;
                Ok((stamped, delta, inputs(changes)?))
            })?;

        progress.stage(&format!("writing artifacts{part}"));
        let disks: Vec<NodeDisk<'_>> = made
            .iter()
            .map(|(it, delta, inputs)| NodeDisk { hostname: &it.node.hostname, delta, inputs })
            .collect();
        let batch = Batch {
            cluster: project.cluster,
            prepared: base,
            template: NodeDisk { hostname: "", delta: &template, inputs: &template_inputs },
            nodes: &disks,
            makes_shared: index == 0,
        };
        artifacts.extend(artifact::write(&batch, request.formats, staging, jobs, progress)?);
        stamped.extend(made.into_iter().map(|(it, ..)| it));
    }
    artifacts.extend(write_side_files(&plans.side_files, staging)?);
    Ok((stamped, artifacts))
}

/// Moves what was made into the output folder, with its SBOM, manifest, checksums and `known_hosts`.
fn publish(
    project: &Project<'_>,
    request: &BuildRequest<'_>,
    plans: &Plans<'_>,
    prepared: &PreparedCluster,
    (stamped, artifacts): &(Vec<StampedNode<'_>>, Vec<Artifact>),
    staging: &Staging,
) -> Result<Manifest> {
    let (cluster, output) = (project.cluster, request.output);
    let sbom = records::sbom(cluster, prepared)?;
    write_synced(&staging.path(SBOM), sbom.as_bytes())?;
    let mut files: Vec<_> = artifacts.iter().flat_map(|it| it.files.clone()).collect();
    files.push(ArtifactRecord::of_bytes(SBOM, sbom.as_bytes()));
    let mut unlisted: Vec<_> = artifacts.iter().flat_map(|it| it.private.clone()).collect();
    unlisted.extend((cluster.host_keys == HostKeys::Build).then(|| KNOWN_HOSTS.to_owned()));
    let made = files.iter().map(|it| &it.path).chain(&unlisted).cloned().collect::<Vec<_>>();
    let manifest = records::manifest(cluster, prepared, stamped, files, unlisted, output)?;
    manifest.write(&staging.path(""))?;
    let mut names: Vec<&str> = artifacts.iter().map(|it| it.name.as_str()).collect();
    // What others depend on goes first: at no moment does a child lack its parent.
    names.sort_by_key(|name| artifacts.iter().any(|it| it.name == *name && it.node.is_some()));
    names.push(SBOM);
    if cluster.host_keys == HostKeys::Build {
        let text = known_hosts(cluster, &plans.secrets)?;
        write_synced(&staging.path(KNOWN_HOSTS), text.as_bytes())?;
        names.push(KNOWN_HOSTS);
    }
    // Checksums that are there are right, and no child depends on a base that it was not made for,
    // whenever this is cut short.
    let outdated = outdated(&cluster.name, artifacts, output);
    let is_built = |name: &str| stamped.iter().any(|it| it.node.hostname == name);
    if let Some((name, node)) = outdated.iter().find(|(_, node)| !is_built(node)) {
        return Err(Error::input(format!("`{name}` depends on a base that has changed since"))
            .hint(format!("build `{node}` as well, or choose another folder with `-o`")));
    }
    let unchanged = unchanged(&cluster.name, artifacts, output);
    names.retain(|name| !unchanged.contains(*name));
    if !request.replace {
        let shared = artifacts.iter().filter(|it| it.node.is_none()).map(|it| it.name.clone());
        let changed = shared.filter(|name| !unchanged.contains(name));
        refuse_started(&cluster.name, changed, output)?;
    }
    if !request.replace {
        let published = [Manifest::NAME, Manifest::SUMS].into_iter().chain(names.iter().copied());
        refuse_foreign(cluster, published, &plans.side_files, output)?;
    }
    staging.claim(made)?;
    staging.withdraw([Manifest::SUMS])?;
    staging.withdraw(outdated.iter().map(|(name, _)| name.as_str()))?;
    names.extend([Manifest::NAME, Manifest::SUMS]);
    staging.publish(names)?;
    staging.settle()?;
    Ok(manifest)
}
