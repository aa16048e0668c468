use std::io::Read as _;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};

use super::output::write;
use super::place::{Location, ReadArgs, missing};
use crate::fs::{FileType, Tree};
use crate::image::copy::FileContent;
use crate::util::error::{Context, Error, Result};

/// Print files of images
#[derive(Debug, Args)]
pub(super) struct CatCommand {
    /// Files as `IMAGE:/path`
    #[arg(value_name = "IMAGE:/PATH", required = true)]
    #[arg(value_parser = OsStringValueParser::new().map(Location::from))]
    paths: Vec<Location>,

    #[command(flatten)]
    images: ReadArgs,
}

/// How much is printed at once, in bytes.
const CHUNK: usize = 1 << 20;

impl CatCommand {
    pub(super) fn run(&self) -> Result<()> {
        for place in &self.paths {
            let Location::Inside { image, path } = place else {
                let (image, _) = place.inside();
                return Err(Error::input(format!(
                    "`{}` names no file in an image",
                    image.display()
                ))
                .hint(format!("write `{}:/PATH`", image.display())));
            };
            let tree = self.images.open(image)?;
            let found = tree.resolve(path)?.ok_or_else(|| missing(image, path))?;
            if tree.metadata(&found)?.is_none_or(|it| it.file_type != FileType::File) {
                return Err(Error::input(format!("`{}` is not a file", path.display())));
            }
            let mut content = FileContent::new(&tree, &found);
            let mut buffer = vec![0; CHUNK];
            loop {
                let read = content.read(&mut buffer).context(|| format!("`{}`", path.display()))?;
                if read == 0 {
                    break;
                }
                if !write(&buffer[..read])? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
