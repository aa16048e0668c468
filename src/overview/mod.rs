//! A cluster and what was built of it as one page of HTML, to be looked at and to be printed.
//!
//! The page needs nothing else: no network, no script. It is made from the plan with the names of secrets
//! in place of them, so that no secret can be on it, and the template escapes all that it is given.

mod changes;
mod disks;
mod packages;
mod picture;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;

use crate::artifact::Manifest;
use crate::change::{Action, Change};
use crate::config::{Cluster, Node, Origin};
use crate::plan;
use crate::secrets::Secrets;
use crate::util::calendar;
use crate::util::error::{Context as _, Error, Result};
use crate::util::new_files;
use crate::util::printable::printable_lines;
use crate::util::room::mib;
use crate::util::sha256::Sha256;
use changes::ManifestChanges;
use disks::DrawnDisk;
use packages::PackageLine;
use picture::Picture;

/// The file's name in the output folder.
pub const NAME: &str = "report.html";

/// How the page begins, which is also how it is known for one of ours.
const BEGINNING: &str = "<!DOCTYPE html>\n<!-- nodeforge report -->\n";

/// What a manifest calls a cluster file among what went in.
const CLUSTER_FILE: &str = "cluster file";

const TEMPLATE: &str = include_str!("page.html.j2");

/// What only a build knows.
#[derive(Default)]
pub struct BuildNews {
    /// What was in the output folder before.
    pub previous: Option<Manifest>,
    /// Its stages, and how long each took.
    pub timings: Vec<(String, Duration)>,
}

/// All that is on the page.
#[derive(Serialize)]
struct PageFacts<'a> {
    beginning: &'a str,
    cluster: &'a str,
    domain: Option<&'a str>,
    profile: &'a str,
    description: &'a str,
    generator: &'a str,
    today: String,
    picture: Picture,
    inputs: Vec<Input>,
    disks: Vec<DrawnDisk>,
    changes: Option<ManifestChanges>,
    nodes: Vec<NodeSection>,
    shared: Vec<ArtifactLine>,
    packages: Vec<PackageLine>,
    timings: Vec<(String, String)>,
    /// Whether the cluster file is another one since.
    is_stale: bool,
    /// Artifacts of nodes that the cluster file no longer has, after the nodes' names.
    left: Vec<(String, ArtifactLine)>,
    total_size: String,
}

#[derive(Serialize)]
struct Input {
    name: String,
    origin: String,
    sha256: String,
}

#[derive(Serialize)]
struct NodeSection {
    hostname: String,
    role: String,
    is_first: bool,
    addresses: Vec<String>,
    /// In which its disk differs from the base.
    delta: Option<String>,
    /// What only this node's plan has, or has otherwise.
    own: Vec<String>,
    artifacts: Vec<ArtifactLine>,
}

#[derive(Serialize)]
struct ArtifactLine {
    path: String,
    size: String,
    sha256: String,
}

/// Refuses to replace a file of the report's name which nodeforge did not write.
pub fn refuse_foreign(output: &Path) -> Result<()> {
    let path = output.join(NAME);
    let shown = path.display();
    match fs::read(&path) {
        Ok(there) if !there.starts_with(BEGINNING.as_bytes()) => Err(Error::input(format!(
            "`{shown}` was not written by nodeforge, and would be replaced"
        ))
        .hint("move it away")),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).context(|| format!("reading `{shown}`")),
    }
}

/// Writes the page of what is in `output`, and returns its path. A file of that name which nodeforge did not write
/// is not replaced.
pub fn write(cluster: &Cluster, output: &Path, news: &BuildNews) -> Result<PathBuf> {
    refuse_foreign(output)?;
    let path = output.join(NAME);
    let shown = path.display();
    // Names from elsewhere are on it, and HTML has no control characters.
    let page = page(cluster, output, news)?;
    let page = printable_lines(&page);
    let new = output.join(".report.html.new");
    let written = new_files::make_anew(&new)
        .and_then(|mut file| file.write_all(page.as_bytes()))
        .and_then(|()| fs::rename(&new, &path));
    written.context(|| format!("writing `{shown}`"))?;
    Ok(path)
}

fn page(cluster: &Cluster, output: &Path, news: &BuildNews) -> Result<String> {
    let manifest = Manifest::previous(output, &cluster.name).ok_or_else(|| {
        let folder = output.display();
        Error::input(format!("no build of `{}` is in `{folder}`", cluster.name))
            .hint("`nodeforge build` makes one; `-o` says where it is")
    })?;
    let secrets = Secrets::load_or_pretend(cluster)?.as_names();
    let plans = cluster.nodes.iter().map(|it| Ok((it, plan::node(cluster, it, &secrets)?)));
    let plans: Vec<(&Node, Vec<Change>)> = plans.collect::<Result<_>>()?;
    let facts = PageFacts {
        beginning: BEGINNING,
        cluster: &cluster.name,
        domain: cluster.domain.as_deref(),
        profile: &cluster.profile.name,
        description: &cluster.profile.description,
        generator: &manifest.generator,
        today: calendar::today(),
        picture: Picture::of(cluster, &plans),
        inputs: manifest
            .inputs
            .iter()
            .map(|it| Input {
                name: it.name.clone(),
                origin: it.origin.clone(),
                sha256: it.sha256.to_string(),
            })
            .collect(),
        disks: disks::of(cluster, &manifest, output),
        changes: news.previous.as_ref().map(|it| ManifestChanges::between(it, &manifest)),
        nodes: plans.iter().map(|(node, own)| section(node, own, &plans, &manifest)).collect(),
        shared: artifacts(&manifest, None),
        packages: packages::of(&manifest, output),
        timings: news.timings.iter().map(|(stage, took)| (stage.clone(), seconds(*took))).collect(),
        is_stale: is_stale(cluster, &manifest),
        left: left(cluster, &manifest),
        total_size: mib(manifest.artifacts.iter().map(|it| it.size).sum()),
    };
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let mut render = || -> Result<String, minijinja::Error> {
        environment.add_template("page", TEMPLATE)?;
        environment.get_template("page")?.render(Serde(&facts))
    };
    // The template is part of the program.
    render().map_err(|error| Error::failure(format!("cannot write the report: {error}")))
}

/// A node, and what its plan has that not every other node's has in the same way.
fn section(
    node: &Node,
    changes: &[Change],
    plans: &[(&Node, Vec<Change>)],
    manifest: &Manifest,
) -> NodeSection {
    let is_shared = |change: &Change| plans.iter().all(|(_, other)| other.contains(change));
    let own = changes.iter().filter(|it| plans.len() > 1 && !is_shared(it));
    // A machine's id is nobody else's business (machine-id(5)), nor are paths of who builds.
    let own = own.filter(|it| !matches!(it.action, Action::MachineId { .. }));
    let own = own.map(|it| plan::describe(&Change { sources: Vec::new(), ..it.clone() }));
    let record = manifest.nodes.iter().find(|it| it.hostname == node.hostname);
    NodeSection {
        hostname: node.hostname.clone(),
        role: node.role.clone(),
        is_first: node.is_first,
        addresses: node.addresses.iter().map(ToString::to_string).collect(),
        delta: record.map(|it| mib(it.delta_bytes)),
        own: own.collect(),
        artifacts: artifacts(manifest, Some(&node.hostname)),
    }
}

/// Whether the build was of another cluster file, or of other layers.
fn is_stale(cluster: &Cluster, manifest: &Manifest) -> bool {
    let built = manifest.inputs.iter().filter(|it| it.name == CLUSTER_FILE).map(|it| it.sha256);
    let files = cluster.sources.iter().filter(|it| matches!(it.origin, Origin::File));
    !built.eq(files.map(|it| Sha256::of(&it.source.text)))
}

fn left(cluster: &Cluster, manifest: &Manifest) -> Vec<(String, ArtifactLine)> {
    let is_gone = |name: &&String| cluster.nodes.iter().all(|it| it.hostname != **name);
    let mut gone: Vec<_> = manifest.artifacts.iter().filter_map(|it| it.node.as_ref()).collect();
    gone.retain(is_gone);
    gone.dedup();
    let lines = gone.into_iter().flat_map(|name| {
        artifacts(manifest, Some(name)).into_iter().map(move |line| (name.clone(), line))
    });
    lines.collect()
}

fn artifacts(manifest: &Manifest, node: Option<&str>) -> Vec<ArtifactLine> {
    let own = manifest.artifacts.iter().filter(|it| it.node.as_deref() == node);
    own.map(|it| ArtifactLine {
        path: it.path.clone(),
        size: mib(it.size),
        sha256: it.sha256.to_string(),
    })
    .collect()
}

fn seconds(elapsed: Duration) -> String {
    format!("{:.1} s", elapsed.as_secs_f64())
}
