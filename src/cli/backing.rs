//! `--backing`, for commands that read images.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Default, Args)]
pub(super) struct BackingArgs {
    /// A backing file or parent that lies in another folder than the image that names it
    ///
    /// The image's own name for it ends in the same file name. By themselves, images are only read
    /// together with files of their own folder and of virtual machines' folders beside that.
    #[arg(long, value_name = "PATH")]
    pub(super) backing: Vec<PathBuf>,
}
