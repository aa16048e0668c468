use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::Value;

use super::cluster::ClusterArgs;
use super::output::print;
use super::ui::Ui;
use crate::config::Cluster;
use crate::plan;
use crate::secrets::Secrets;
use crate::util::error::{Context as _, Error, Result};
use crate::util::new_files;
use crate::util::progress::Progress as _;

/// Print the kubeconfig with which this machine reaches the cluster, or add it to yours
///
/// It is what a build leaves in the output folder as `kubeconfig`. Who has it administers the cluster.
#[derive(Debug, Args)]
pub(super) struct KubeconfigCommand {
    /// The cluster file
    #[arg(help = "The cluster file [default: cluster.toml]")]
    file: Option<PathBuf>,

    #[command(flatten)]
    cluster: ClusterArgs,

    /// Add it to the file that `KUBECONFIG` names, else to `~/.kube/config`, with kubectl
    #[arg(long)]
    merge: bool,

    /// With `--merge`: replace other clusters, contexts and users of the same names
    #[arg(long, requires = "merge")]
    replace: bool,
}

/// What profiles call it.
const NAME: &str = "kubeconfig";

impl KubeconfigCommand {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        let cluster = self.cluster.load(self.file.clone())?;
        let secrets = Secrets::load_or_create(&cluster)?;
        for told in secrets.expiring()? {
            ui.warn(&told);
        }
        let text = text(&cluster, &secrets)?;
        if !self.merge {
            return print(&text);
        }
        let list = lists()?;
        let target = list[0].display();
        let merged = merge(&text, &list, self.replace)?;
        let name = &cluster.name;
        ui.note(&match merged {
            Merged::Already => format!("{target} has {name} already"),
            Merged::New => format!("added {name} to {target}"),
            Merged::Into { backup } => {
                format!("added {name} to {target}; as it was: {}", backup.display())
            }
        });
        Ok(())
    }
}

/// What a build leaves in the output folder.
pub(super) fn text(cluster: &Cluster, secrets: &Secrets) -> Result<String> {
    let handout = plan::handouts(cluster, secrets)?.into_iter().find(|it| it.path == NAME);
    let handout = handout.ok_or_else(|| {
        Error::input(format!("the profile `{}` has no kubeconfig", cluster.profile.name))
            .hint("a profile has one as a `[[handout]]` whose `path` is `kubeconfig`")
    })?;
    Ok(String::from_utf8_lossy(&handout.content.bytes).into_owned())
}

/// The user's own files, as kubectl finds them; to the first of them it is added.
fn lists() -> Result<Vec<PathBuf>> {
    if let Some(list) = std::env::var_os("KUBECONFIG") {
        let split = std::env::split_paths(&list).filter(|it| !it.as_os_str().is_empty());
        let list: Vec<_> = split.collect();
        if !list.is_empty() {
            return Ok(list);
        }
    }
    new_files::home().map(|home| vec![home.join(".kube/config")]).ok_or_else(|| {
        Error::input("cannot tell where your kubeconfig is: neither KUBECONFIG nor HOME is set")
    })
}

/// What became of the user's file.
enum Merged {
    /// Nothing: all of it was there.
    Already,
    /// There is one.
    New,
    /// It has more.
    Into { backup: PathBuf },
}

/// Adds it with kubectl, whose file it is: the context in use stays in use, and what the user has of the
/// same cluster (a proxy, a namespace) stays too.
fn merge(text: &str, list: &[PathBuf], replace: bool) -> Result<Merged> {
    let target = &list[0];
    let writing = || format!("writing `{}`", target.display());
    // What a link points to is the file, and the link stays.
    let place = std::fs::canonicalize(target).unwrap_or_else(|_| target.clone());
    let folder = place.parent().filter(|it| !it.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    new_files::create_dir_all(folder).context(|| format!("creating `{}`", folder.display()))?;
    let added = private_file(folder, text.as_bytes()).context(writing)?;
    let mut added = Kubeconfig::read(&[added.path()])?;
    // A name that a later file of the list has would be hidden.
    let files: Vec<&Path> = list.iter().map(PathBuf::as_path).collect();
    let own = Kubeconfig::read(&files)?;
    let clashes = added.clashes(&own, target);
    if !clashes.is_empty() && !replace {
        let message =
            format!("`{}` has others of these names: {}", target.display(), clashes.join(", "));
        return Err(Error::input(message).hint(format!(
            "`--replace` replaces them, and keeps the file as it was in `{}`; or give the cluster another name",
            backup_of(&place).display()
        )));
    }
    if clashes.is_empty() {
        added.leave_out_what_is_in(&own);
    }
    if own.text("/current-context").is_some() {
        added.0["current-context"] = "".into();
    }
    let added = private_file(folder, added.0.to_string().as_bytes()).context(writing)?;
    let merged = view(&[added.path(), target], "yaml")?;
    let old = if place.exists() {
        let old = std::fs::read(&place);
        Some(old.context(|| format!("reading `{}`", place.display()))?)
    } else {
        None
    };
    if old.is_some() && merged == view(&[target], "yaml")? {
        return Ok(Merged::Already);
    }
    let backup = backup_of(&place);
    if let Some(old) = &old {
        keep(&backup, old, &place).context(|| format!("writing `{}`", backup.display()))?;
    }
    keep(&place, merged.as_bytes(), &place).context(writing)?;
    Ok(if old.is_some() { Merged::Into { backup } } else { Merged::New })
}

fn backup_of(place: &Path) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(".bak");
    name.into()
}

/// Whole or not at all, and for the owner of the user's file alone; where there is none yet, under sudo for the
/// user behind it.
fn keep(path: &Path, content: &[u8], file_of_user: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = private_file(folder, content)?;
    file.as_file().sync_all()?;
    new_files::give_in_place_of(file.as_file(), file_of_user);
    file.persist(path).map_err(|error| error.error)?;
    std::fs::File::open(folder)?.sync_all()
}

fn private_file(folder: &Path, content: &[u8]) -> std::io::Result<tempfile::NamedTempFile> {
    let mode = std::fs::Permissions::from_mode(0o600);
    let mut file = tempfile::Builder::new().permissions(mode).tempfile_in(folder)?;
    file.write_all(content)?;
    Ok(file)
}

/// As kubectl reads it.
struct Kubeconfig(Value);

impl Kubeconfig {
    fn read(files: &[&Path]) -> Result<Self> {
        let json = view(files, "json")?;
        let value = serde_json::from_str(&json);
        value.map(Self).map_err(|error| Error::failure(format!("kubectl writes no JSON: {error}")))
    }

    fn text(&self, pointer: &str) -> Option<&str> {
        self.0.pointer(pointer)?.as_str().filter(|it| !it.is_empty())
    }

    fn entries(&self, kind: EntryKind) -> impl Iterator<Item = (&str, &Value)> {
        let list = self.0[kind.list].as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(move |it| Some((it["name"].as_str()?, &it[kind.one])))
    }

    fn find(&self, kind: EntryKind, name: &str) -> Option<&Value> {
        self.entries(kind).find(|(it, _)| *it == name).map(|(_, value)| value)
    }

    /// What the user has under a name of these and is not the same thing.
    fn clashes(&self, own: &Self, target: &Path) -> Vec<String> {
        let folder = target.parent().unwrap_or(Path::new("."));
        let mut found = Vec::new();
        for (name, new) in self.entries(CLUSTER) {
            let Some(old) = own.find(CLUSTER, name) else { continue };
            let server = |it: &Value| {
                it["server"].as_str().unwrap_or_default().trim_end_matches('/').to_owned()
            };
            if server(old) != server(new) {
                found.push(format!("cluster `{name}` (server `{}`)", server(old)));
            } else if authority(old, folder) != authority(new, folder) {
                found.push(format!("cluster `{name}` (another certificate authority)"));
            }
        }
        for (name, new) in self.entries(CONTEXT) {
            let Some(old) = own.find(CONTEXT, name) else { continue };
            if (&old["cluster"], &old["user"]) != (&new["cluster"], &new["user"]) {
                found.push(format!("context `{name}` (cluster `{}`)", shown(&old["cluster"])));
            }
        }
        for (name, new) in self.entries(USER) {
            let Some(old) = own.find(USER, name) else { continue };
            // Its certificate is renewed: it is the same user as long as it is one of this cluster's.
            let mut clusters = own
                .entries(CONTEXT)
                .filter(|(_, it)| it["user"] == name)
                .map(|(_, it)| &it["cluster"])
                .peekable();
            let ours = |cluster: &Value| self.find(CLUSTER, shown(cluster)).is_some();
            if old != new && (clusters.peek().is_none() || !clusters.all(ours)) {
                found.push(format!("user `{name}`"));
            }
        }
        found
    }

    /// The user's own fields of the same cluster and context stay.
    fn leave_out_what_is_in(&mut self, own: &Self) {
        for kind in [CLUSTER, CONTEXT] {
            if let Some(list) = self.0[kind.list].as_array_mut() {
                list.retain(|it| own.find(kind, shown(&it["name"])).is_none());
            }
        }
    }
}

/// Names of the list and of what is in it.
#[derive(Clone, Copy)]
struct EntryKind {
    list: &'static str,
    one: &'static str,
}

const CLUSTER: EntryKind = EntryKind { list: "clusters", one: "cluster" };
const CONTEXT: EntryKind = EntryKind { list: "contexts", one: "context" };
const USER: EntryKind = EntryKind { list: "users", one: "user" };

fn shown(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A cluster's certificate authority in base64, which may be in a file of its own.
fn authority(cluster: &Value, folder: &Path) -> Option<String> {
    if let Some(data) = cluster["certificate-authority-data"].as_str() {
        return Some(data.to_owned());
    }
    let path = cluster["certificate-authority"].as_str()?;
    std::fs::read(folder.join(path)).ok().map(|it| STANDARD.encode(it))
}

fn view(files: &[&Path], format: &str) -> Result<String> {
    let list = std::env::join_paths(files)
        .map_err(|error| Error::input(format!("kubectl cannot read such paths: {error}")))?;
    let output = Command::new("kubectl")
        .args(["config", "view", "--raw", "--output", format])
        .env("KUBECONFIG", list)
        .output()
        .map_err(|error| {
            Error::input(format!("cannot run kubectl, which merges: {error}")).hint(
                "install it, or use the file as it is: `KUBECONFIG=out/kubeconfig kubectl get nodes`",
            )
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::failure(format!("kubectl cannot merge: {said}")));
    }
    String::from_utf8(output.stdout).map_err(|_| Error::failure("kubectl writes no UTF-8 text"))
}
