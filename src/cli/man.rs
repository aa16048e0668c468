use std::path::PathBuf;

use clap::Args;

use crate::util::error::{Context, Result};
use crate::util::new_files;

/// Write the manual pages into a folder
#[derive(Debug, Args)]
pub(super) struct ManCommand {
    /// The folder, made where it is missing
    directory: PathBuf,
}

impl ManCommand {
    pub(super) fn run(&self, command: clap::Command) -> Result<()> {
        let directory = &self.directory;
        new_files::create_dir_all(directory)
            .and_then(|()| clap_mangen::generate_to(command, directory))
            .context(|| format!("writing manual pages to `{}`", directory.display()))?;
        new_files::give_tree(directory);
        Ok(())
    }
}
