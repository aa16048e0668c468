use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::CLUSTER_FILE;
use super::ui::Ui;
use crate::config::{self, Base, Cluster};
use crate::disk::Raw;
use crate::emit::{InputRecord, PreparedBase};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::plan;
use crate::prepare::{self, Sandbox};
use crate::source::{self, Cache, Package};

/// Prepare the base that all nodes share, and nothing else
#[derive(Debug, Args)]
pub(super) struct Prepare {
    /// The cluster file
    #[arg(default_value = CLUSTER_FILE)]
    file: PathBuf,

    /// Prepare it anew even when the cache has it
    #[arg(long)]
    force: bool,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}
