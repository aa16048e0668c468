use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;

use super::arguments::CLUSTER_FILE;
use super::ui::Ui;
use crate::config;
use crate::util::error::{Context, Error, Result};
use crate::util::new_files;

/// Write a commented cluster file to begin with
#[derive(Debug, Args)]
pub(super) struct InitCommand {
    /// The profile it is for
    #[arg(long, default_value = "quickstart")]
    profile: String,

    /// Where to write it
    #[arg(default_value = ".")]
    directory: PathBuf,
}

impl InitCommand {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        let Some(text) = config::starting_file(&self.profile) else {
            return Err(Error::input(format!("there is no profile `{}`", self.profile))
                .hint(format!("the profiles are {}", config::shipped_profiles().join(", "))));
        };
        let path = self.directory.join(CLUSTER_FILE);
        new_files::create_dir_all(&self.directory)
            .context(|| format!("making the folder `{}`", self.directory.display()))?;
        match File::create_new(&path) {
            Ok(mut file) => {
                new_files::give(&file);
                file.write_all(text).context(|| format!("writing `{}`", path.display()))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(Error::input(format!("`{}` exists already", path.display()))
                    .hint("nodeforge never overwrites a cluster file; move it away first"));
            }
            Err(error) => return Err(error).context(|| format!("writing `{}`", path.display())),
        }
        ui.note(&format!("wrote {}; `nodeforge check` says what it describes", path.display()));
        Ok(())
    }
}
