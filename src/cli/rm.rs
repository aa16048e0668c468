use std::path::Path;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};

use super::edit::EditOptions;
use super::place::{Location, missing, split};
use super::ui::Ui;
use crate::fs::{FileType, Tree};
use crate::util::error::{Error, Result};

/// Remove files from a raw image
///
/// The image is changed only when everything could be removed, and is read back and checked first.
/// A symlink is removed itself, not what it points at.
#[derive(Debug, Args)]
pub(super) struct RmCommand {
    /// Files as `IMAGE:/path`
    #[arg(value_name = "IMAGE:/PATH", required = true)]
    #[arg(value_parser = OsStringValueParser::new().map(Location::from))]
    files: Vec<Location>,

    /// Remove directories with all that is in them
    #[arg(short, long)]
    recursive: bool,

    /// Do not mind what does not exist
    #[arg(short, long)]
    force: bool,

    #[command(flatten)]
    options: EditOptions,
}

impl RmCommand {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        let mut images: Vec<(&Path, Vec<&Path>)> = Vec::new();
        for place in &self.files {
            let Location::Inside { image, path } = place else {
                let (path, _) = place.inside();
                return Err(Error::input(format!(
                    "`{}` names no file in an image",
                    path.display()
                ))
                .hint("write `IMAGE:/PATH`; files of this machine are removed by rm(1)"));
            };
            match images.iter_mut().find(|(known, _)| known == image) {
                Some((_, paths)) => paths.push(path),
                None => images.push((image, vec![path])),
            }
        }
        let file = |image: &Path| split(image).0;
        let is_other = |(at, (image, _)): (usize, &(&Path, _))| {
            images[..at].iter().any(|(before, _)| file(before) == file(image))
        };
        if images.iter().enumerate().any(is_other) {
            return Err(Error::input(
                "files of two partitions of one image cannot be removed at once",
            )
            .hint("remove those of one partition, then those of the other"));
        }
        // All of them before the first is changed.
        let mut edits = Vec::new();
        for (image, paths) in images {
            let mut edit = EditOptions::open(image)?;
            for path in paths {
                self.remove(edit.image(), image, path)?;
            }
            edits.push((edit, image));
        }
        for (edit, image) in edits {
            self.options.commit(edit, image, ui)?;
        }
        Ok(())
    }

    fn remove(&self, tree: &mut dyn Tree, image: &Path, path: &Path) -> Result<()> {
        let Some(metadata) = tree.metadata(path)? else {
            return if self.force { Ok(()) } else { Err(missing(image, path)) };
        };
        if metadata.file_type == FileType::Directory && !self.recursive {
            return Err(Error::input(format!("`{}` is a directory", path.display()))
                .hint("`-r` removes it with all that is in it"));
        }
        tree.remove(path)
    }
}
