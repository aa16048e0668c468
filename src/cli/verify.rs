use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Args;

use super::cluster::ClusterArgs;
use crate::util::error::{Context as _, Error, Result};
use crate::util::interrupt;

/// Ask the running cluster whether it works, with the script that a build left: `out/verify.sh`
///
/// The script asks with kubectl and standard tools, by the kubeconfig beside it unless `KUBECONFIG` names
/// another, and says of what is not well where to look next. It changes nothing but one pod, which it removes.
///
/// Exits with 0 when all is well, 1 when something is not, 2 when it could not ask.
#[derive(Debug, Args)]
pub(super) struct VerifyCommand {
    /// The cluster file
    #[arg(help = "The cluster file [default: cluster.toml]")]
    file: Option<PathBuf>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// What profiles call it.
const NAME: &str = "verify.sh";
/// What the script exits with when something is not well, and when it cannot ask.
const UNWELL: u8 = 1;
const TROUBLE: u8 = 2;

impl VerifyCommand {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let cluster = self.cluster.load(self.file.clone())?;
        if !cluster.profile.handouts.iter().any(|it| it.path == NAME) {
            let message = format!("the profile `{}` has no {NAME}", cluster.profile.name);
            return Err(Error::input(message)
                .hint("a profile has one as a `[[handout]]` whose `path` is `verify.sh`"));
        }
        let script = cluster.output.directory.join(NAME);
        if !script.is_file() {
            return Err(Error::input(format!("there is no `{}`", script.display()))
                .hint("`nodeforge build` writes it"));
        }
        let mut child = Command::new("sh")
            .arg(&script)
            .spawn()
            .context(|| format!("starting `sh {}`", script.display()))?;
        let status = interrupt::wait(&mut child)?;
        match status.code() {
            Some(0) => Ok(ExitCode::SUCCESS),
            Some(1) => Ok(ExitCode::from(UNWELL)),
            Some(2) => Ok(ExitCode::from(TROUBLE)),
            _ => Err(Error::failure(format!("`sh {}` failed: {status}", script.display()))),
        }
    }
}
