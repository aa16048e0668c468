//! `IMAGE:/path` on the command line, and what commands that read images have in common.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::backing::BackingArgs;
use super::cluster::ClusterArgs;
use crate::artifact::{disk_of, flashable};
use crate::build::OutputFolder;
use crate::config::Cluster;
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
        if bytes.starts_with(b"./") && !split(image).0.exists() {
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

/// What images are made of and where those of nodes are.
#[derive(Debug, Args)]
pub(super) struct ReadArgs {
    #[command(flatten)]
    below: BackingArgs,

    /// Where nodes' artifacts are [default: the cluster file's folder, or `out`]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

impl ReadArgs {
    /// Opens an image, or one of its partitions, for reading.
    pub(super) fn open(&self, image: &Path) -> Result<Image> {
        let (image, partition) = split(image);
        let disk = edit::open_to_read(&disk_of(&self.find(&image)?), self.backing())?;
        match partition {
            Some(number) => Image::open_partition(disk, 0, number),
            None => Image::open(disk, 0),
        }
    }

    /// The image at a path; else what was built of the node that has the name.
    pub(super) fn find(&self, image: &Path) -> Result<PathBuf> {
        let Some(name) = image.to_str().filter(|name| !name.contains('/') && !image.exists())
        else {
            return Ok(image.to_owned());
        };
        let cluster = self.cluster.load_if_any()?;
        let is_node = |it: &Cluster| it.nodes.iter().any(|node| node.hostname == name);
        let folder = OutputFolder::new(self.output.as_deref(), cluster.as_ref())?;
        match folder.find(name, &flashable()) {
            Ok(artifact) => Ok(artifact),
            Err(error) if cluster.as_ref().is_some_and(is_node) => Err(error),
            // Opening it says that it is not there.
            Err(_) => Ok(image.to_owned()),
        }
    }

    /// As the command line names them.
    pub(super) fn backing(&self) -> &[PathBuf] {
        &self.below.backing
    }
}

/// `IMAGE@2` is partition 2 of IMAGE, as long as there is no image of that name.
pub(super) fn split(image: &Path) -> (PathBuf, Option<u32>) {
    let bytes = image.as_os_str().as_bytes();
    let whole = || (image.to_owned(), None);
    let Some(at) = bytes.iter().rposition(|byte| *byte == b'@').filter(|at| *at > 0) else {
        return whole();
    };
    let number = str::from_utf8(&bytes[at + 1..]).ok().filter(|it| !it.starts_with('+'));
    match number.and_then(|it| it.parse().ok()) {
        Some(number) if !image.exists() => (OsStr::from_bytes(&bytes[..at]).into(), Some(number)),
        Some(_) | None => whole(),
    }
}

/// Nothing is there.
pub(super) fn missing(image: &Path, path: &Path) -> Error {
    Error::input(format!("`{}` does not exist in `{}`", path.display(), image.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_after_an_image_is_a_partitions() {
        let parts = |text: &str| {
            let (image, number) = split(Path::new(text));
            (image.display().to_string(), number)
        };
        assert_eq!(parts("a.img@2"), ("a.img".into(), Some(2)));
        assert_eq!(parts("a@b@15"), ("a@b".into(), Some(15)));
        for whole in ["a.img", "a@", "@2", "a@x", "a@+2", "a@-1", "user@host/a.img"] {
            assert_eq!(parts(whole), (whole.into(), None));
        }
    }

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
