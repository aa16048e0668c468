use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use super::cluster::ClusterArgs;
use super::output::print;
use super::ui::Ui;
use crate::config::Cluster;
use crate::plan;
use crate::secrets::Secrets;
use crate::util::error::{Context as _, Error, Result};
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
        let target = target()?;
        merge(&text, &target)?;
        ui.note(&format!("added {} to {}", cluster.name, target.display()));
        Ok(())
    }
}

fn text(cluster: &Cluster, secrets: &Secrets) -> Result<String> {
    let handout = plan::handouts(cluster, secrets)?.into_iter().find(|it| it.path == NAME);
    let handout = handout.ok_or_else(|| {
        Error::input(format!("the profile `{}` has no kubeconfig", cluster.profile.name))
            .hint("a profile has one as a `[[handout]]` whose `path` is `kubeconfig`")
    })?;
    Ok(String::from_utf8_lossy(&handout.content.bytes).into_owned())
}

/// The user's own file, as kubectl finds it: of a list, the first.
fn target() -> Result<PathBuf> {
    if let Some(list) = std::env::var_os("KUBECONFIG") {
        let first = std::env::split_paths(&list).find(|it| !it.as_os_str().is_empty());
        if let Some(first) = first {
            return Ok(first);
        }
    }
    let home = std::env::var_os("HOME").filter(|it| !it.is_empty());
    home.map(|home| Path::new(&home).join(".kube/config")).ok_or_else(|| {
        Error::input("cannot tell where your kubeconfig is: neither KUBECONFIG nor HOME is set")
    })
}

/// kubectl merges, whose file it is. What is added counts where both have a name; the context in use
/// stays in use.
fn merge(text: &str, target: &Path) -> Result<()> {
    let folder = target.parent().filter(|it| !it.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).context(|| format!("creating `{}`", folder.display()))?;
    let mut without = String::new();
    for line in text.lines().filter(|line| !line.starts_with("current-context:")) {
        without.push_str(line);
        without.push('\n');
    }
    let writing = || format!("writing `{}`", target.display());
    let added = private_file(folder, &without).context(writing)?;
    let mut merged = view(&[added.path(), target])?;
    if merged.lines().any(|line| line.trim_end() == "current-context: \"\"") {
        let added = private_file(folder, text).context(writing)?;
        merged = view(&[added.path(), target])?;
    }
    let file = private_file(folder, &merged).context(writing)?;
    file.as_file().sync_all().context(writing)?;
    // What a link points to is the file, and the link stays.
    let place = std::fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
    file.persist(place).map_err(|error| error.error).context(writing)?;
    Ok(())
}

fn private_file(folder: &Path, text: &str) -> std::io::Result<tempfile::NamedTempFile> {
    let mode = std::fs::Permissions::from_mode(0o600);
    let mut file = tempfile::Builder::new().permissions(mode).tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

fn view(files: &[&Path]) -> Result<String> {
    let list = std::env::join_paths(files)
        .map_err(|error| Error::input(format!("kubectl cannot read such paths: {error}")))?;
    let output = Command::new("kubectl")
        .args(["config", "view", "--raw", "--flatten", "--output=yaml"])
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
