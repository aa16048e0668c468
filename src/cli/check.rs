use std::path::PathBuf;

use clap::Args;

use super::table::table;
use super::ui::Ui;
use super::{CLUSTER_FILE, print_json};
use crate::config::{self, Base, Cluster, Secrets};
use crate::error::Result;
use crate::plan;

/// Check a cluster file, and say what it describes
///
/// Everything is checked offline, down to rendering every template for every node.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The cluster file
    #[arg(default_value = CLUSTER_FILE)]
    file: PathBuf,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        let cluster = config::load(&self.file)?;
        plan_all(&cluster)?;

        let base = describe_base(&cluster.base);
        let formats: Vec<_> = cluster.output.formats.iter().map(|it| it.name()).collect();
        if self.json {
            return print_json(&as_json(&cluster, &base, &formats));
        }
        let rows: Vec<_> = cluster
            .nodes
            .iter()
            .map(|node| {
                let addresses: Vec<_> = node.addresses.iter().map(ToString::to_string).collect();
                let addresses =
                    if addresses.is_empty() { "automatic".into() } else { addresses.join(" ") };
                vec![
                    node.hostname.clone(),
                    node.role.clone(),
                    addresses,
                    base.clone(),
                    formats.join(" "),
                ]
            })
            .collect();
        let headings = ["NODE", "ROLE", "ADDRESSES", "BASE", "OUTPUTS"];
        anstream::print!("{}", table(&headings, &[], &rows));
        ui.detail(&format!(
            "the profile is {}: {}",
            cluster.profile.name, cluster.profile.description
        ));
        Ok(())
    }
}

/// Plans everything that a build would, down to the last template.
pub(super) fn plan_all(cluster: &Cluster) -> Result<()> {
    // Secrets that are not there yet are made up: templates must render, and nothing is kept.
    let secrets = Secrets::load_or_pretend(cluster)?;
    plan::prepare(cluster)?;
    plan::template(cluster)?;
    for node in &cluster.nodes {
        plan::node(cluster, node, &secrets)?;
    }
    plan::handouts(cluster, &secrets)?;
    Ok(())
}

fn as_json(cluster: &Cluster, base: &str, formats: &[&str]) -> serde_json::Value {
    let nodes: Vec<_> = cluster
        .nodes
        .iter()
        .map(|node| {
            serde_json::json!({
                "hostname": node.hostname,
                "role": node.role,
                "addresses": node.addresses,
                "base": base,
                "outputs": formats,
            })
        })
        .collect();
    serde_json::json!({ "cluster": cluster.name, "profile": cluster.profile.name, "nodes": nodes })
}

/// A base in a few words.
pub(super) fn describe_base(base: &Base) -> String {
    match base {
        Base::Catalogue(name) => name.clone(),
        Base::Path(path) => path.display().to_string(),
        Base::Url { url, .. } => url.clone(),
        Base::Bootstrap(bootstrap) => {
            format!("{} {} from packages", bootstrap.suite, bootstrap.arch.name())
        }
    }
}
