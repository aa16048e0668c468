//! What commands that change an image have in common.

use std::path::Path;

use clap::Args;

use super::place::split;
use super::ui::{Ui, bytes};
use crate::artifact::disk_of;
use crate::image::FsckPolicy;
use crate::image::edit::Edit;
use crate::util::clock;
use crate::util::error::Result;

#[derive(Debug, Args)]
pub(super) struct EditOptions {
    /// Whether e2fsck and fsck.fat must be content before the image is changed
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    fsck: FsckPolicy,
}

impl EditOptions {
    pub(super) fn open(image: &Path) -> Result<Edit> {
        let (image, partition) = split(image);
        Edit::open(&disk_of(&image), partition, clock::now()?)
    }

    pub(super) fn commit(&self, edit: Edit, image: &Path, ui: &Ui) -> Result<()> {
        let changed = edit.commit(self.fsck)?;
        ui.detail(&format!("{} of `{}` changed", bytes(changed), image.display()));
        Ok(())
    }
}
