use std::path::PathBuf;

use clap::Args;

use super::cluster::{ClusterArgs, note_oddities};
use super::output::{print, print_json};
use super::table::table;
use super::ui::Ui;
use crate::base::{self, Catalogue, LockFile};
use crate::build;
use crate::config::{Base, Cluster};
use crate::plan;
use crate::secrets::Secrets;
use crate::util::error::Result;
use crate::util::progress::Progress as _;

/// Check a cluster file, and say what it describes
///
/// Everything is checked offline, down to rendering every template. With `-v` it also says where
/// each value comes from.
#[derive(Debug, Args)]
pub(super) struct CheckCommand {
    /// The cluster file
    #[arg(help = "The cluster file [default: cluster.toml]")]
    file: Option<PathBuf>,

    #[command(flatten)]
    cluster: ClusterArgs,

    /// Fail unless `nodeforge.lock` pins the base that the cluster file asks for
    #[arg(long)]
    locked: bool,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl CheckCommand {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        let cluster = self.cluster.load(self.file.clone())?;
        build::rehearse(&cluster)?;
        self.check_lock(&cluster, ui)?;
        note_oddities(&cluster, ui)?;
        for told in Secrets::load_or_pretend(&cluster)?.expiring()? {
            ui.warn(&told);
        }

        let base = describe_base(&cluster.base);
        let formats: Vec<_> = cluster.output.formats.clone();
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
        print(&table(&headings, &[], &rows))?;
        ui.detail(&format!(
            "the profile is {}: {}",
            cluster.profile.name, cluster.profile.description
        ));
        let origins = cluster.origins.iter();
        let origins =
            origins.map(|it| vec![it.key.clone(), it.value.clone(), it.giver.to_string()]);
        let origins: Vec<_> = origins.collect();
        ui.detail(table(&["KEY", "VALUE", "FROM"], &[], &origins).trim_end());
        Ok(())
    }

    /// Fails when what the lock file pins cannot be used any more.
    fn check_lock(&self, cluster: &Cluster, ui: &Ui) -> Result<()> {
        let file = LockFile::open(&cluster.directory)?;
        let changes = plan::prepare(cluster, &[])?;
        file.check(&changes)?;
        for told in file.expiring(&changes) {
            ui.warn(&told);
        }
        let catalogue = Catalogue::load(None)?;
        if base::pinned(&file, &cluster.base, &catalogue, &cluster.directory)?.is_some() {
            return Ok(());
        }
        let wanted = base::request(&cluster.base, &cluster.directory);
        let why = match &file.lock.base {
            Some(base) if base.request != wanted => {
                format!("it pins `{}`, the cluster file asks for `{wanted}`", base.request)
            }
            _ => "it does not pin the base".to_owned(),
        };
        if self.locked {
            return Err(file.would_change(&why));
        }
        if file.lock.base.is_some() {
            ui.warn(&format!("the next build will change `{}`: {why}", file.path().display()));
        }
        Ok(())
    }
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
    let values: Vec<_> = cluster
        .origins
        .iter()
        .map(|it| serde_json::json!({ "key": it.key, "value": it.value, "from": it.giver.to_string() }))
        .collect();
    serde_json::json!({
        "cluster": cluster.name,
        "profile": cluster.profile.name,
        "nodes": nodes,
        "values": values,
    })
}

/// A base in a few words.
pub(super) fn describe_base(base: &Base) -> String {
    match base {
        Base::Bootstrap(bootstrap) => {
            format!("{} {} from packages", bootstrap.suite, bootstrap.arch.name())
        }
        Base::Catalogue(_) | Base::Path { .. } | Base::Url { .. } => base.name(),
    }
}
