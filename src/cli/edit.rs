//! What commands that change an image have in common.

use std::path::Path;

use clap::{Args, ValueEnum};

use super::place::disk_of;
use super::ui::{Ui, bytes};
use crate::clock;
use crate::edit::Edit;
use crate::error::Result;
use crate::image::fsck::FsckPolicy;

#[derive(Debug, Args)]
pub(super) struct EditOptions {
    /// Whether e2fsck must be content before the image is changed
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    fsck: Fsck,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Fsck {
    /// It must, and be installed
    Always,
    /// Where it is installed
    #[default]
    Auto,
    /// It is not asked
    Never,
}

impl EditOptions {
    pub(super) fn open(image: &Path) -> Result<Edit> {
        Edit::open(&disk_of(image), clock::now()?)
    }

    pub(super) fn commit(&self, edit: Edit, image: &Path, ui: &Ui) -> Result<()> {
        let policy = match self.fsck {
            Fsck::Always => FsckPolicy::Always,
            Fsck::Auto => FsckPolicy::Auto,
            Fsck::Never => FsckPolicy::Never,
        };
        let changed = edit.commit(policy)?;
        ui.detail(&format!("{} of `{}` changed", bytes(changed), image.display()));
        Ok(())
    }
}
