use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;

use super::arguments::{file_and_nodes, select};
use super::cluster::ClusterArgs;
use super::output::print;
use super::ui::Ui;
use super::{kubeconfig, secrets};
use crate::config::{Cluster, Node};
use crate::plan::{self, Addition, ApiManifest, Different, NodeDifference};
use crate::secrets::Secrets;
use crate::util::clock;
use crate::util::error::{Context as _, Error, Result};
use crate::util::process::Tool;
use crate::util::rfc3339::rfc3339;

/// Print what a running cluster must learn of a node that is new in the cluster file, or tell it
///
/// What is printed is a shell script. There are secrets in it where nodes join with one.
#[derive(Debug, Args)]
pub(super) struct AddCommand {
    /// The cluster file [default: cluster.toml], then the nodes that are new
    #[arg(value_name = "[FILE] NODE...", required = true)]
    arguments: Vec<String>,

    #[command(flatten)]
    cluster: ClusterArgs,

    /// Tell the cluster's API what is for it, with kubectl; print the rest
    #[arg(long)]
    apply: bool,

    /// With `--apply`: reach the cluster by this file, not by what `nodeforge kubeconfig` prints
    #[arg(long, value_name = "FILE", requires = "apply")]
    kubeconfig: Option<PathBuf>,

    /// How long the nodes have to join, where that is limited
    #[arg(long, value_name = "HOURS", default_value_t = 168, value_parser = clap::value_parser!(u16).range(1..))]
    hours: u16,
}

/// In whose name the cluster's API is told: first boot uses the same, so that what it gave the cluster is
/// brought up to date.
const MANAGER: &str = "nodeforge";

impl AddCommand {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        let (file, names) = file_and_nodes(&self.arguments);
        if names.is_empty() {
            return Err(Error::input("which node is new?")
                .hint("for example `nodeforge add cluster.toml node1`"));
        }
        let cluster = self.cluster.load(file)?;
        let new = select(&cluster, names)?;
        if !Secrets::exist(&cluster) {
            let path = Secrets::path(&cluster);
            let message =
                format!("`{}` is missing, which a running cluster was built with", path.display());
            return Err(Error::input(message)
                .hint("bring the file that the cluster's nodes were built with: new secrets are another cluster's"));
        }
        let secrets = Secrets::load_or_create(&cluster)?;
        let until = rfc3339(clock::now()? + i64::from(self.hours) * 3600);
        let addition = plan::addition(&cluster, &new, &secrets, &until)?;
        if !self.apply {
            return print(&script(&cluster, names, &addition));
        }
        if !addition.manifests.is_empty() {
            let kubectl = Kubectl::new(&cluster, &secrets, self.kubeconfig.clone())?;
            for node in &new {
                kubectl.expect_unknown(node)?;
            }
            for manifest in &addition.manifests {
                kubectl.apply(manifest)?;
                ui.note(&format!("told {}: {}", cluster.name, first_line(&manifest.about)));
            }
        }
        let rest = by_hand(&cluster, &addition);
        if rest.is_empty() {
            ui.note("nothing is left to do by hand");
        }
        print(rest.trim_start_matches('\n'))
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The cluster's own kubectl.
struct Kubectl {
    config: PathBuf,
    /// Of a file that this made: it goes when this does.
    _file: Option<tempfile::NamedTempFile>,
}

impl Kubectl {
    fn new(cluster: &Cluster, secrets: &Secrets, given: Option<PathBuf>) -> Result<Self> {
        if let Some(config) = given {
            return Ok(Self { config, _file: None });
        }
        let text = kubeconfig::text(cluster, secrets)?;
        let file = private_file(text.as_bytes())?;
        Ok(Self { config: file.path().to_owned(), _file: Some(file) })
    }

    fn call(&self) -> Tool {
        let kubectl = Tool::new("kubectl", "kubernetes-client");
        kubectl.arg("--kubeconfig").arg(&self.config).arg("--request-timeout=60s")
    }

    /// A node that is there has joined: if it is to join again, it must be forgotten first.
    fn expect_unknown(&self, node: &Node) -> Result<()> {
        let name = &node.hostname;
        let found = self.call().args(["get", "node", name, "--ignore-not-found", "--output=name"]);
        let found = found.run().context(|| "asking the cluster for its nodes")?;
        if found.trim().is_empty() {
            return Ok(());
        }
        Err(Error::input(format!("the cluster has a node `{name}` already")).hint(format!(
            "one that was lost and comes back is new once the cluster has forgotten it: `kubectl delete node {name}`"
        )))
    }

    fn apply(&self, manifest: &ApiManifest) -> Result<()> {
        let file = private_file(manifest.text.as_bytes())?;
        let manager = format!("--field-manager={MANAGER}");
        let call = self.call().args(["apply", "--server-side", "--force-conflicts", &manager]);
        let call = call.arg("--filename").arg(file.path());
        call.run()
            .map(|_| ())
            .context(|| format!("telling the cluster: {}", first_line(&manifest.about)))
    }
}

/// For its owner's eyes only, as temporary files are.
fn private_file(content: &[u8]) -> Result<tempfile::NamedTempFile> {
    let written = tempfile::NamedTempFile::new().and_then(|mut file| {
        file.write_all(content)?;
        file.flush()?;
        Ok(file)
    });
    written.context(|| "writing a temporary file")
}

/// All of it.
fn script(cluster: &Cluster, names: &[String], addition: &Addition) -> String {
    let names = names.join(", ");
    let mut text = format!("# What {} must learn of {names}.\n", cluster.name);
    if !addition.manifests.is_empty() {
        text += "# `--apply` tells it what is for its API: these commands, with a kubeconfig of its own.\n";
    }
    for manifest in &addition.manifests {
        let mut end = "END".to_owned();
        while manifest.text.lines().any(|line| line == end) {
            end.push('_');
        }
        write!(
            text,
            "\n{}kubectl apply --server-side --force-conflicts --field-manager={MANAGER} --filename=- <<'{end}'\n{}\n{end}\n",
            comment("", &manifest.about),
            manifest.text.trim_end()
        )
        .expect("writing to a string");
    }
    text + &by_hand(cluster, addition)
}

/// What is not for its API.
fn by_hand(cluster: &Cluster, addition: &Addition) -> String {
    let mut text = String::new();
    for NodeDifference { nodes, what } in &addition.differences {
        text.push('\n');
        let place =
            if nodes.is_empty() { "the base of all nodes".into() } else { nodes.join(", ") };
        match what {
            Different::Hosts { added, removed } => {
                text += &format!("# /etc/hosts on {place}\n");
                text.extend(removed.iter().map(|line| comment("  - ", line)));
                for node in nodes {
                    text += &hosts_command(cluster, node, added);
                }
            }
            Different::Said(words) => text += &comment("", &format!("{place}: {words}")),
            Different::Lines(path, lines) => {
                text += &format!("# {path} on {place}\n");
                text.extend(lines.iter().map(|line| comment("  ", line)));
            }
            Different::Opaque(path) => {
                text +=
                    &format!("# {path} on {place}: changes; an image that is built now has it\n");
            }
            Different::Other(change) => text += &comment("", &format!("{place}: {change}")),
        }
    }
    if !addition.side_files.is_empty() {
        let folder = cluster.shown(&cluster.output.directory);
        text += "\n# Files that the next build writes anew, for where you use them\n";
        text.extend(addition.side_files.iter().map(|it| comment("  ", &format!("{folder}/{it}"))));
    }
    text
}

fn comment(indent: &str, text: &str) -> String {
    text.lines().map(|line| format!("# {indent}{line}").trim_end().to_owned() + "\n").collect()
}

/// Adds lines to `/etc/hosts` of a node that runs, once.
fn hosts_command(cluster: &Cluster, hostname: &str, lines: &[String]) -> String {
    let node = cluster.nodes.iter().find(|it| it.hostname == hostname);
    let ssh = secrets::ssh_to(cluster, node);
    let add = |line: &String| {
        format!(
            "{ssh} \"grep -qxF '{line}' /etc/hosts || echo '{line}' | sudo tee -a /etc/hosts\"\n"
        )
    };
    lines.iter().map(add).collect()
}
