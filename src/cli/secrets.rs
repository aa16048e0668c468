use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::arguments::looks_like_file;
use super::cluster::ClusterArgs;
use super::output::{print, print_json};
use super::table::table;
use super::ui::Ui;
use crate::config::{Cluster, Node, SecretKind};
use crate::plan::{self, RotationCommands};
use crate::secrets::{SecretRecord, Secrets, StoredKind};
use crate::util::error::{Error, Result};

/// List a cluster's secrets, or replace some of them
#[derive(Debug, Args)]
pub(super) struct SecretsCommand {
    #[command(subcommand)]
    command: SecretsAction,
}

#[derive(Debug, Subcommand)]
enum SecretsAction {
    Show(SecretsShow),
    Rotate(SecretsRotate),
}

/// List the names, kinds and ages of the secrets; never their values
#[derive(Debug, Args)]
struct SecretsShow {
    /// The cluster file [default: cluster.toml], then names [default: all]
    #[arg(value_name = "[FILE] [NAME]...")]
    arguments: Vec<String>,

    #[command(flatten)]
    cluster: ClusterArgs,

    /// Print the value of the one secret named, or of a part of it: `kubernetes_ca.cert`
    #[arg(long)]
    reveal: bool,

    /// Print the list as JSON
    #[arg(long, conflicts_with = "reveal")]
    json: bool,
}

/// Replace secrets, and say what that means for nodes that run
#[derive(Debug, Args)]
struct SecretsRotate {
    /// The cluster file [default: cluster.toml], then the names of the secrets
    #[arg(value_name = "[FILE] NAME...", required = true)]
    arguments: Vec<String>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

impl SecretsCommand {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        match &self.command {
            SecretsAction::Show(command) => command.run(ui),
            SecretsAction::Rotate(command) => command.run(ui),
        }
    }
}

impl SecretsShow {
    fn run(&self, ui: &Ui) -> Result<()> {
        let (file, names) = split(&self.arguments);
        let cluster = self.cluster.load(file)?;
        let secrets = Secrets::load_or_pretend(&cluster)?;
        // What is not stored yet is made up, and telling of it would mislead.
        let entries = if secrets.is_stored() || Secrets::path(&cluster).exists() {
            secrets.records()
        } else {
            ui.note("the first build makes the secrets; there are none yet");
            Vec::new()
        };
        if self.reveal {
            let [name] = names.as_slice() else {
                return Err(Error::input("`--reveal` takes one name")
                    .hint("for example `nodeforge secrets show --reveal join_token`"));
            };
            let value = if entries.is_empty() { None } else { secrets.reveal(name) };
            let value = value.ok_or_else(|| unknown(name))?;
            return print(&format!("{}\n", value.trim_end_matches('\n')));
        }
        if let Some(name) = names.iter().find(|name| entries.iter().all(|it| it.name != **name)) {
            return Err(unknown(name));
        }
        let is_wanted = |entry: &&SecretRecord| names.is_empty() || names.contains(&entry.name);
        let entries: Vec<&SecretRecord> = entries.iter().filter(is_wanted).collect();
        if self.json {
            let entry = |it: &&SecretRecord| {
                json!({
                    "name": it.name, "kind": it.kind.to_string(), "created": it.created,
                    "age_days": it.age_days, "roles": roles(&cluster, &it.name),
                })
            };
            return print_json(&entries.iter().map(entry).collect::<Vec<_>>());
        }
        let row = |it: &&SecretRecord| {
            let age = match it.age_days {
                None => String::new(),
                Some(0) => "today".into(),
                Some(1) => "1 day".into(),
                Some(days) => format!("{days} days"),
            };
            let roles = roles(&cluster, &it.name).join(" ");
            vec![it.name.clone(), it.kind.to_string(), it.created.clone(), age, roles]
        };
        let rows: Vec<_> = entries.iter().map(row).collect();
        print(&table(&["NAME", "KIND", "MADE", "AGE", "ROLES"], &[3], &rows))
    }
}

impl SecretsRotate {
    fn run(&self, ui: &Ui) -> Result<()> {
        let (file, names) = split(&self.arguments);
        if names.is_empty() {
            return Err(
                Error::input("no secret is named").hint("`nodeforge secrets show` lists them")
            );
        }
        let cluster = self.cluster.load(file.clone())?;
        let commands = |name: &str| commands(&cluster, file.as_deref(), name);
        // Before anything is replaced: a template that does not render must not get in between.
        let mut texts = BTreeMap::new();
        for spec in cluster.profile.secrets.iter().filter(|spec| names.contains(&spec.name)) {
            let text = plan::after_rotation(&cluster, spec, &commands(&spec.name))?;
            texts.extend(text.map(|text| (spec.name.as_str(), text)));
        }
        for record in Secrets::rotate(&cluster, &names)? {
            let text = texts.remove(record.name.as_str());
            let text = text.unwrap_or_else(|| consequence(&record, &commands(&record.name)));
            print(&format!("{} is new. {text}\n", record.name))?;
        }
        ui.note(&format!("wrote {}", Secrets::path(&cluster).display()));
        Ok(())
    }
}

/// Names of secrets can have dots in them, files always do: the first is a file when there is one.
fn split(arguments: &[String]) -> (Option<PathBuf>, Vec<String>) {
    let (file, names) = match arguments {
        [first, names @ ..] if first.ends_with(".toml") && looks_like_file(first) => {
            (Some(PathBuf::from(first)), names)
        }
        names => (None, names),
    };
    // A profile's names have no dashes; a user who thinks of the kind writes `kubeadm-token`.
    let meant =
        |name: &String| if name.contains('/') { name.clone() } else { name.replace('-', "_") };
    (file, names.iter().map(meant).collect())
}

/// The roles whose nodes may hold the private part; all when there are none.
fn roles(cluster: &Cluster, name: &str) -> Vec<String> {
    let spec = cluster.profile.secrets.iter().find(|spec| spec.name == name);
    spec.map(|spec| spec.roles.clone()).unwrap_or_default()
}

/// What to do about nodes that run with the old one, where the profile does not say.
fn consequence(record: &SecretRecord, commands: &RotationCommands) -> String {
    let reveal = &commands.reveal;
    match record.kind {
        StoredKind::Seed => {
            "Every node gets another machine id when it is built again, and with it \
                             another DHCP lease"
                .into()
        }
        StoredKind::NodeHostKey | StoredKind::Profile(SecretKind::SshHostKey) => {
            let host = record.name.strip_prefix("ssh_host_key/").unwrap_or(&record.name);
            format!(
                "The node gets it when it is built again, and `known_hosts` with it. Machines that \
                 know the old one:\n  ssh-keygen -R {host}"
            )
        }
        StoredKind::Profile(SecretKind::KubeadmToken) => format!(
            "Nodes that have joined need nothing. Before a new image joins a running cluster, the \
             cluster must know it:\n  {reveal}"
        ),
        StoredKind::Profile(SecretKind::Ca) => {
            "Nothing that the old one signed is trusted any more: build all nodes again".into()
        }
        StoredKind::Profile(SecretKind::ClientCertificate) => {
            "The next build writes the kubeconfig anew, and `nodeforge kubeconfig` prints it. Copies of the \
             old one are good until its certificate expires"
                .into()
        }
        StoredKind::Profile(SecretKind::SshKey) => {
            "Who knows the old one by its public half must be given the new one's, and what uses it the new key"
                .into()
        }
        StoredKind::Profile(SecretKind::KeyPair) => {
            "What the old one signed is not valid any more: build all nodes that hold it again, at \
             once"
                .into()
        }
        StoredKind::Profile(SecretKind::NodeKey) => {
            "Servers that nodes prove their identity to know the old ones: build all nodes again, \
             and install the new side files on those servers"
                .into()
        }
        StoredKind::Profile(SecretKind::WireGuard) => {
            "Nodes and peers with old and new keys cannot reach each other: build all nodes again, \
             and give the peers their new side files"
                .into()
        }
        StoredKind::Profile(SecretKind::Hex | SecretKind::Password | SecretKind::File) => format!(
            "Nodes that run keep the old one until they are built again, or until you give it to \
             them:\n  {reveal}"
        ),
    }
}

/// The commands that such a text may name.
fn commands(cluster: &Cluster, file: Option<&Path>, name: &str) -> RotationCommands {
    let file = file.map(|file| format!("{} ", file.display())).unwrap_or_default();
    let reveal = format!("$(nodeforge secrets show {file}--reveal {name})");
    RotationCommands { ssh: ssh(cluster), reveal }
}

/// How to get to the node that forms the cluster.
fn ssh(cluster: &Cluster) -> String {
    ssh_to(cluster, cluster.nodes.iter().find(|node| node.is_first))
}

/// How to get to a node, as who may become root.
pub(super) fn ssh_to(cluster: &Cluster, node: Option<&Node>) -> String {
    let place = node.map_or_else(
        || "CONTROL-PLANE".to_owned(),
        |node| {
            let address = node.addresses.first();
            address.map_or_else(|| node.hostname.clone(), |it| it.addr().to_string())
        },
    );
    // Who must type a password needs a terminal for it.
    let terminal = if cluster.access.passwordless_sudo { "" } else { "-t " };
    format!("ssh {terminal}{}@{place}", cluster.access.user)
}

fn unknown(name: &str) -> Error {
    Error::input(format!("unknown secret `{name}`"))
        .hint("`nodeforge secrets show` lists them; parts are `ca.cert`, `ca.key`, `pair.public`")
}
