use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::cluster::ClusterArgs;
use super::looks_like_file;
use super::output::{print, print_json};
use super::table::table;
use super::ui::Ui;
use crate::config::{Cluster, Setting};
use crate::secrets::{Entry, Secrets};
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
            secrets.entries()
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
        let is_wanted = |entry: &&Entry| names.is_empty() || names.contains(&entry.name);
        let entries: Vec<&Entry> = entries.iter().filter(is_wanted).collect();
        if self.json {
            let entry = |it: &&Entry| {
                json!({
                    "name": it.name, "kind": it.kind, "created": it.created,
                    "age_days": it.age_days, "roles": roles(&cluster, &it.name),
                })
            };
            return print_json(&entries.iter().map(entry).collect::<Vec<_>>());
        }
        let row = |it: &&Entry| {
            let age = match it.age_days {
                None => String::new(),
                Some(0) => "today".into(),
                Some(1) => "1 day".into(),
                Some(days) => format!("{days} days"),
            };
            let roles = roles(&cluster, &it.name).join(" ");
            vec![it.name.clone(), it.kind.clone(), it.created.clone(), age, roles]
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
        for entry in Secrets::rotate(&cluster, &names)? {
            let file = file.as_deref();
            print(&format!("{} is new. {}\n", entry.name, consequence(&cluster, file, &entry)))?;
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

/// What to do about nodes that run with the old one.
fn consequence(cluster: &Cluster, file: Option<&Path>, entry: &Entry) -> String {
    let Entry { name, .. } = entry;
    let file = file.map(|file| format!("{} ", file.display())).unwrap_or_default();
    let reveal = format!("$(nodeforge secrets show {file}--reveal {name})");
    match entry.kind.as_str() {
        "kubeadm-token" => format!(
            "Nodes that have joined need nothing. Before a new image joins a running cluster, make \
             it known there, from this machine:\n  {} sudo kubeadm token create \"{reveal}\" --ttl {}",
            ssh(cluster),
            match cluster.settings.get("token_ttl") {
                Some(Setting::String(ttl)) => ttl.as_str(),
                _ => "24h",
            }
        ),
        "ca" => "Nothing that the old one signed is trusted any more: build all nodes anew, or \
                 follow\n  https://kubernetes.io/docs/tasks/tls/manual-rotation-of-ca-certificates/"
            .into(),
        "keypair" => "What the old one signed is not valid any more, such as tokens of service \
                      accounts: build anew all nodes that hold it, at once"
            .into(),
        "node-key" => {
            "Whom nodes prove themselves to knows the old ones: build all nodes anew, and \
                       give the handouts to where they belong"
                .into()
        }
        "wireguard" => "Nodes and peers with old and new keys do not understand each other: build \
                        all nodes anew, and give the peers their new handouts"
            .into(),
        "seed" => "Every node gets another machine id when it is built anew, and with it another \
                   DHCP lease"
            .into(),
        "ssh-host-key" => {
            let host = name.strip_prefix("ssh_host_key/").unwrap_or(name);
            format!(
                "The node gets it when it is built anew, and `known_hosts` with it. Who knows the \
                 old one:\n  ssh-keygen -R {host}"
            )
        }
        _ => format!(
            "Nodes that run keep the old one until they are built anew, or until you give it to \
             them:\n  {reveal}\nThe token of a k3s server is changed there with `k3s token rotate`"
        ),
    }
}

/// How to get to the node that forms the cluster.
fn ssh(cluster: &Cluster) -> String {
    let first = cluster.nodes.iter().find(|node| node.is_first);
    let place = first.map_or_else(
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
