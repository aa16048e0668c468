//! `IMAGE:/path` on the command line.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::artifact::disk_of;
use crate::image::{Image, edit};
use crate::util::error::{Error, Result};

/// A file of this machine, or one in an image.
#[derive(Clone, Debug)]
pub(super) enum Location {
    /// A path of this machine; to some commands, an image.
    Host(PathBuf),
    /// A path in an image.
    Inside {
        /// The image's file, folder or device.
        image: PathBuf,
        /// Absolute, from the image's root.
        path: PathBuf,
    },
}

/// What comes before the first `:/` is the image. A path of this machine with `:/` in it begins with
/// `./`, and is one as long as no image has the name before the colon.
impl From<OsString> for Location {
    fn from(argument: OsString) -> Self {
        let bytes = argument.as_bytes();
        let Some(colon) = bytes.windows(2).position(|pair| pair == b":/").filter(|&at| at > 0)
        else {
            return Self::Host(argument.into());
        };
        let image = Path::new(OsStr::from_bytes(&bytes[..colon]));
        if bytes.starts_with(b"./") && !image.exists() {
            return Self::Host(argument.into());
        }
        let path = OsStr::from_bytes(&bytes[colon + 1..]);
        Self::Inside { image: image.to_owned(), path: path.into() }
    }
}

impl Location {
    /// The image and the path in it; its root when none is given.
    pub(super) fn inside(&self) -> (&Path, &Path) {
        match self {
            Self::Host(image) => (image, Path::new("/")),
            Self::Inside { image, path } => (image, path),
        }
    }
}

/// Opens an image for reading.
pub(super) fn open(image: &Path) -> Result<Image> {
    Image::open(edit::open_to_read(&disk_of(image))?, 0)
}

/// Nothing is there.
pub(super) fn missing(image: &Path, path: &Path) -> Error {
    Error::input(format!("`{}` does not exist in `{}`", path.display(), image.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_ends_where_a_path_begins() {
        let place = |text: &str| match Location::from(OsString::from(text)) {
            Location::Host(path) => format!("host {}", path.display()),
            Location::Inside { image, path } => format!("{} {}", image.display(), path.display()),
        };
        assert_eq!(place("out/node1.img:/etc/hosts"), "out/node1.img /etc/hosts");
        assert_eq!(place("a:b.img:/x:/y"), "a:b.img /x:/y");
        assert_eq!(place("hosts"), "host hosts");
        assert_eq!(place("a:b"), "host a:b");
        assert_eq!(place(":/x"), "host :/x");
        assert_eq!(place("./odd:/x"), "host ./odd:/x");
        assert_eq!(place("./Cargo.toml:/x"), "./Cargo.toml /x");
    }
}
