use clap::Args;
use clap_complete::Shell;

use super::output::write;
use crate::util::error::Result;

/// Print a shell's completion script
#[derive(Debug, Args)]
pub(super) struct CompletionsCommand {
    /// The shell
    shell: Shell,
}

impl CompletionsCommand {
    pub(super) fn run(&self, mut command: clap::Command) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "nodeforge", &mut script);
        write(&script).map(|_| ())
    }
}
