use clap::{Args, ValueEnum};

use super::output::print_json;
use crate::artifact::format_rules;
use crate::config::schema;
use crate::plan;
use crate::util::error::Result;

/// Print a JSON schema, by which editors complete and check
#[derive(Debug, Args)]
pub(super) struct SchemaCommand {
    /// Of what
    #[arg(value_enum, default_value_t)]
    of: Of,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Of {
    /// cluster.toml
    #[default]
    Cluster,
    /// profile.toml
    Profile,
    /// What `plan --json` prints
    Plan,
}

impl SchemaCommand {
    pub(super) fn run(&self) -> Result<()> {
        print_json(&match self.of {
            Of::Cluster => schema::cluster(format_rules()),
            Of::Profile => schema::profile(),
            Of::Plan => plan::schema(),
        })
    }
}
