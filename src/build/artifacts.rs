//! Every node's artifacts: planned, stamped, written into a staging folder, published.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::bases::bases_for;
use super::built_base::BuiltBase;
use super::guards::{refuse_another, refuse_foreign, refuse_started};
use super::known_hosts::{KNOWN_HOSTS, known_hosts};
use super::prepared::{Preparation, PreparedCluster};
use super::project::Project;
use super::records;
use super::stale::SharedInputs;
use super::stamp::{StampedNode, stamp, stamp_node};
use super::status::left_over;
use crate::artifact::{
    self, Artifact, ArtifactFormat, ArtifactRecord, Batch, Freshness, Ledger, Manifest, NodeDisk,
    Staging, outdated, unchanged, write_side_files, write_synced,
};
use crate::change::Change;
use crate::config::{HostKeys, Node};
use crate::disk::Delta;
use crate::image::FsckPolicy;
use crate::plan::{self, SharedBase, SideFile};
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
    /// Whether another cluster's artifacts, what was changed since it was built, and machines that were
    /// started may be replaced.
    pub replace: bool,
    /// Whether artifacts of nodes and in formats that are no longer asked for are removed.
    pub prunes: bool,
    /// Whether artifacts are made again that would come out as they are.
    pub makes_all: bool,
    /// Whether the contents of artifacts decide that they are as the last build left them, not only their
    /// sizes and times.
    pub compares_contents: bool,
    /// How bases are prepared.
    pub preparation: Preparation,
}

/// What a build made.
pub struct Built<'a> {
    /// What is published with it.
    pub manifest: Manifest,
    /// The nodes by the prepared bases that they share, the main one first.
    pub bases: Vec<BuiltBase<'a>>,
    /// Files for people, and other artifacts that are of no base.
    pub side_files: Vec<Artifact>,
    /// Whether all of it was there already as it would be built.
    pub is_unchanged: bool,
    /// Names of artifacts of nodes and in formats that are no longer asked for: removed, if they were to be.
    pub left: Vec<String>,
}

/// Everything that is decided before any work: a template that does not render costs no evening.
struct Plans<'a> {
    secrets: Secrets,
    bases: Vec<BasePlan<'a>>,
    template: Vec<Change>,
    side_files: Vec<SideFile>,
}

/// What is to become of one prepared base.
struct BasePlan<'a> {
    base: SharedBase,
    nodes: Vec<(&'a Node, Vec<Change>)>,
}

/// Builds nodes' artifacts and publishes them, whole or not at all.
pub fn build<'a>(project: &mut Project<'_>, request: &BuildRequest<'a>) -> Result<Built<'a>> {
    project.cluster.access.require_login()?;
    let plans = Plans::make(project, request)?;
    let staging = Staging::new(request.output)?;
    let left = left_over(project.cluster, request.formats, request.output)?;
    if !request.replace {
        refuse_to_lose(project, request, &plans, if request.prunes { &left } else { &[] })?;
    }
    // All of them first: what no sandbox can make ends a build before it stamps anything.
    let mut prepared = Vec::with_capacity(plans.bases.len());
    for plan in &plans.bases {
        prepared.push(project.prepare(request.preparation, &plan.base)?);
    }
    let full = |error| room::explain(error, request.output, FolderUse::Output, None);
    let mut bases = Vec::with_capacity(prepared.len());
    for (plan, prepared) in plans.bases.iter().zip(prepared) {
        let made = make(project, request, &plans, plan, &prepared, &staging).map_err(full)?;
        let (nodes, artifacts) = made;
        bases.push(BuiltBase { base: plan.base.clone(), prepared, nodes, artifacts });
    }
    let side_files =
        write_side_files(&plans.side_files, &staging, request.makes_all).map_err(full)?;
    let (manifest, is_unchanged) =
        publish(project, request, &plans, &bases, &side_files, &left, &staging).map_err(full)?;
    Ok(Built { manifest, bases, side_files, is_unchanged, left })
}

impl<'a> Plans<'a> {
    fn make(project: &Project<'_>, request: &BuildRequest<'a>) -> Result<Self> {
        let cluster = project.cluster;
        let secrets = Secrets::load_or_create(cluster)?;
        secrets.check_expiry(cluster)?;
        let mut bases = Vec::new();
        for (base, nodes) in bases_for(cluster, request.formats, &request.nodes)? {
            let plans = nodes.into_iter().map(|it| Ok((it, plan::node(cluster, it, &secrets)?)));
            bases.push(BasePlan { base, nodes: plans.collect::<Result<_>>()? });
        }
        Ok(Self {
            bases,
            template: plan::template(cluster)?,
            side_files: plan::handouts(cluster, &secrets)?,
            secrets,
        })
    }
}

/// Refuses, before anything is made, what would replace another cluster's artifacts, a file that no
/// build made, what somebody changed, or a machine's disk. `removed` are artifacts that are to go.
fn refuse_to_lose(
    project: &Project<'_>,
    request: &BuildRequest<'_>,
    plans: &Plans<'_>,
    removed: &[String],
) -> Result<()> {
    let (cluster, side_files) = (&project.cluster.name, &plans.side_files);
    refuse_another(cluster, request.output)?;
    // The first of them is named.
    let mut expected = Vec::new();
    for BasePlan { base, nodes } in &plans.bases {
        let nodes: Vec<_> = nodes.iter().map(|(node, _)| *node).collect();
        expected.extend(artifact::expected(project.cluster, request.formats, &base.name, &nodes));
        expected.push(records::sbom_name(project.cluster, base));
    }
    expected.extend([Manifest::NAME, Manifest::SUMS].map(str::to_owned));
    expected.extend((project.cluster.host_keys == HostKeys::Build).then(|| KNOWN_HOSTS.to_owned()));
    expected.extend(side_files.iter().map(|it| it.top().to_owned()));
    expected.extend_from_slice(removed);
    let expected = || expected.iter().map(String::as_str);
    refuse_foreign(project.cluster, expected(), side_files, request.output)?;
    let names = request
        .formats
        .iter()
        .flat_map(|format| request.nodes.iter().filter_map(|node| format.of_node(&node.hostname)));
    refuse_started(cluster, names.chain(removed.iter().cloned()), request.output)?;
    let edited = freshness(project, request, None).edited(&expected().collect())?;
    artifact::refuse_edited(request.output, &edited)
}

/// Stamps the nodes of a prepared base and writes their artifacts into the staging folder, a group at a time: those
/// that are not there already as they would be made.
fn make<'a>(
    project: &Project<'_>,
    request: &BuildRequest<'a>,
    plans: &Plans<'a>,
    plan: &BasePlan<'a>,
    prepared: &PreparedCluster,
    staging: &Staging,
) -> Result<(Vec<StampedNode<'a>>, Vec<Artifact>)> {
    let (cluster, base, progress) = (project.cluster, &prepared.base, project.progress);
    let (formats, jobs, output) = (request.formats, request.jobs, request.output);
    let shared = SharedInputs::of(cluster, &plan.base, &plans.secrets, &project.lock)?;
    let template_inputs = shared.disk(&plans.template)?;
    let nodes = plan.nodes.iter().map(|(node, changes)| Ok((*node, shared.disk(changes)?)));
    let nodes = nodes.collect::<Result<Vec<_>>>()?;
    let digests = artifact::digests(cluster, formats, &plan.base.name, &template_inputs, &nodes);
    let fresh = fresh(request, project, prepared, &digests)?;
    let is_stale = |name: &String| !fresh.contains(name);

    let shared_names = artifact::shared_names(cluster, formats, &plan.base.name);
    let makes_shared = shared_names.iter().any(is_stale);
    let template = if makes_shared {
        stamp(base, &plans.template, request.fsck).context(|| "stamping the template".to_owned())?
    } else {
        Delta::default()
    };
    let is_wanted =
        |(node, _): &(&Node, _)| artifact::names_of(formats, &node.hostname).iter().any(is_stale);
    let plans_and_inputs = plan.nodes.iter().zip(nodes).filter(|(plan, _)| is_wanted(plan));
    let wanted: Vec<_> = plans_and_inputs.map(|(plan, (_, inputs))| (plan, inputs)).collect();
    let (mut stamped, mut artifacts) = (Vec::new(), Vec::new());
    let mut groups: Vec<_> = wanted.chunks(GROUP).collect();
    if groups.is_empty() && makes_shared {
        groups.push(&[]);
    }
    for (index, group) in groups.iter().enumerate() {
        let part = match groups.len() {
            1 => String::new(),
            groups => format!(", {} of {groups}", index + 1),
        };
        progress.stage(&format!("stamping nodes{part}"));
        let made: Vec<(StampedNode<'a>, Delta)> = parallel(jobs, group, |((node, changes), _)| {
            stamp_node(base, node, changes, request.fsck)
        })?;

        progress.stage(&format!("writing artifacts{part}"));
        let disks = made.iter().zip(*group).map(|((it, delta), (_, inputs))| NodeDisk {
            hostname: &it.node.hostname,
            delta,
            inputs,
        });
        let batch = Batch {
            cluster,
            base_name: &plan.base.name,
            prepared: base,
            template: NodeDisk { hostname: "", delta: &template, inputs: &template_inputs },
            nodes: &disks.collect::<Vec<_>>(),
            fresh: &fresh,
            makes_shared: index == 0,
        };
        artifacts.extend(artifact::write(&batch, formats, staging, jobs, progress)?);
        stamped.extend(made.into_iter().map(|(it, ..)| it));
    }
    if let Some(previous) = Manifest::settled(output, &cluster.name) {
        let kept = fresh.iter().map(|name| Artifact::kept(name, output, &previous));
        artifacts.extend(kept.collect::<Result<Vec<_>>>()?);
    }
    Ok((stamped, artifacts))
}

fn freshness<'a>(
    project: &'a Project<'_>,
    request: &BuildRequest<'a>,
    from: Option<&'a str>,
) -> Freshness<'a> {
    Freshness {
        cache: &project.cache,
        cluster: &project.cluster.name,
        output: request.output,
        from,
        compares_contents: request.compares_contents,
    }
}

/// Names of artifacts that are there already as they would be made.
fn fresh(
    request: &BuildRequest<'_>,
    project: &Project<'_>,
    prepared: &PreparedCluster,
    digests: &[(String, String)],
) -> Result<BTreeSet<String>> {
    if request.makes_all {
        return Ok(BTreeSet::new());
    }
    let from = artifact::made_from(prepared.base.image.about.sha256);
    let reasons = freshness(project, request, Some(&from)).reasons(digests)?;
    let names = digests.iter().map(|(name, _)| name);
    Ok(names.filter(|name| !reasons.contains_key(*name)).cloned().collect())
}

/// Moves what was made into the output folder, with SBOMs, manifest, checksums and `known_hosts`. Where
/// nothing changed, nothing is touched, which is what the second value says.
fn publish(
    project: &Project<'_>,
    request: &BuildRequest<'_>,
    plans: &Plans<'_>,
    bases: &[BuiltBase<'_>],
    side_files: &[Artifact],
    left: &[String],
    staging: &Staging,
) -> Result<(Manifest, bool)> {
    let (cluster, output) = (project.cluster, request.output);
    let mut ledger = Ledger::read(&project.cache, &cluster.name, output);
    let artifacts = || bases.iter().flat_map(|it| &it.artifacts).chain(side_files);
    let made: Vec<_> = artifacts().filter(|it| !it.is_kept).collect();
    let mut files: Vec<_> = artifacts().flat_map(|it| it.files.clone()).collect();
    let mut unlisted: Vec<_> = artifacts().flat_map(|it| it.private.clone()).collect();
    let mut names: Vec<&str> = made.iter().map(|it| it.name.as_str()).collect();
    // What others depend on goes first: at no moment does a child lack its parent.
    names.sort_by_key(|name| made.iter().any(|it| it.name == *name && it.node.is_some()));

    let mut texts = Vec::new();
    for BuiltBase { base, prepared, .. } in bases {
        let (name, sbom) = (records::sbom_name(cluster, base), records::sbom(base, prepared)?);
        files.push(ArtifactRecord::of_bytes(&name, sbom.as_bytes()));
        texts.push((name, sbom));
    }
    if cluster.host_keys == HostKeys::Build {
        unlisted.push(KNOWN_HOSTS.to_owned());
        texts.push((KNOWN_HOSTS.to_owned(), known_hosts(cluster, &plans.secrets)?));
    }
    for (name, text) in &texts {
        let is_there = fs::read(output.join(name)).is_ok_and(|it| it == text.as_bytes());
        if request.makes_all || !is_there {
            write_synced(&staging.path(name), text.as_bytes())?;
            names.push(name);
        }
    }
    let claims = files.iter().map(|it| &it.path).chain(&unlisted).cloned().collect::<Vec<_>>();
    let mut manifest = records::manifest(cluster, bases, files, unlisted, output)?;
    let removed = if request.prunes { left } else { &[] };
    manifest.forget(removed);
    // Checksums that are there are right, and no child depends on a base that it was not made for,
    // whenever this is cut short.
    let outdated = outdated(&cluster.name, &made, output);
    let is_unchanged =
        names.is_empty() && outdated.is_empty() && removed.is_empty() && manifest.is_in(output);
    if is_unchanged && staging.is_settled() {
        return Ok((manifest, true));
    }
    project.progress.stage("publishing");
    manifest.write(&staging.path(""))?;
    let is_built =
        |name: &str| bases.iter().flat_map(|it| &it.nodes).any(|it| it.node.hostname == name);
    if let Some((name, node)) = outdated.iter().find(|(_, node)| !is_built(node)) {
        return Err(Error::input(format!("`{name}` depends on a base that has changed since"))
            .hint(format!("build `{node}` as well, or choose another folder with `-o`")));
    }
    let unchanged = unchanged(&cluster.name, &made, output)?;
    names.retain(|name| !unchanged.contains(*name));
    if !request.replace {
        let shared = made.iter().filter(|it| it.node.is_none()).map(|it| it.name.clone());
        let changed = shared.filter(|name| !unchanged.contains(name));
        refuse_started(&cluster.name, changed, output)?;
    }
    if !request.replace {
        let published = [Manifest::NAME, Manifest::SUMS].into_iter().chain(names.iter().copied());
        refuse_foreign(cluster, published, &plans.side_files, output)?;
    }
    staging.claim(claims)?;
    staging.withdraw([Manifest::SUMS])?;
    staging.withdraw(outdated.iter().map(|(name, _)| name).chain(removed).map(String::as_str))?;
    names.extend([Manifest::NAME, Manifest::SUMS]);
    staging.publish(names)?;
    staging.settle()?;
    for BuiltBase { prepared, artifacts, .. } in bases {
        let from = artifact::made_from(prepared.base.image.about.sha256);
        let made = artifacts.iter().filter(|it| !it.is_kept);
        ledger.note(output, &from, made.flat_map(|it| &it.files));
    }
    ledger.write(&project.cache, output);
    Ok((manifest, false))
}
