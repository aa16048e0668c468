//! What the sandbox can be asked to do.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bootstrap;
use crate::prepare::inside;
use crate::util::error::{Error, Result};
use crate::util::progress::Progress;

/// One thing for a sandbox to do. Its answer travels as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    /// Nothing: the keeper removes the folders, which is all that is wanted.
    Nothing,
    /// Makes a base's root file system from packages.
    Bootstrap(bootstrap::RootJob),
    /// Prepares a base's root file system.
    Prepare(inside::PrepareJob),
}

impl Job {
    /// Does it, in `scratch`, which need not exist yet.
    pub(crate) fn run(&self, scratch: &Path, progress: &dyn Progress) -> Result<serde_json::Value> {
        match self {
            Self::Nothing => Ok(serde_json::Value::Null),
            Self::Bootstrap(job) => answer(job.run(scratch, progress)?),
            Self::Prepare(job) => answer(job.run(scratch, progress)?),
        }
    }
}

fn answer(value: impl Serialize) -> Result<serde_json::Value> {
    serde_json::to_value(value).map_err(|error| Error::failure(error.to_string()))
}
