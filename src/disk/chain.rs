//! Chains of images: each names the one below, and none is trusted in what it names.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::format::Format;
use super::regular::open_regular;
use crate::util::error::{Context, Error, Result};

/// Images in one chain. VMware itself stops at 32.
const LONGEST: usize = 32;

/// What the folder of a virtual machine's files ends in.
const BUNDLE: &str = ".vmwarevm";

/// One image of a chain, as whoever opens it must see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainLink {
    /// Its file, without symlinks.
    pub path: PathBuf,
    /// What it is.
    pub format: Format,
    /// What a VMDK is made of when it is the descriptor of other files; else `None`.
    pub parts: Option<ExtentList>,
}

/// A VMDK whose bytes are in other files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtentList {
    /// Its content id.
    pub cid: u32,
    /// The content id that its parent must have.
    pub parent: Option<u32>,
    /// In the order of the disk.
    pub extents: Vec<ExtentSpan>,
}

/// Bytes of a disk that are in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtentSpan {
    /// How many sectors of 512 bytes.
    pub sectors: u64,
    /// Where they are.
    pub content: ExtentPlace,
}

/// Where a part's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExtentPlace {
    /// In a sparse extent, a file with tables of its own.
    Sparse(PathBuf),
    /// In a file, from a sector on.
    Flat(PathBuf, u64),
    /// Nowhere: they are zeros.
    Zeros,
}

/// The images opened so far, from the top down.
pub(super) struct Chain<'a> {
    links: Vec<ChainLink>,
    /// Backing files and parents that the user named.
    named: &'a [PathBuf],
}

/// A file that an image names, found and open.
pub(super) struct NamedFile {
    pub(super) path: PathBuf,
    pub(super) file: File,
}

impl<'a> Chain<'a> {
    /// A chain that may go on in these files, wherever they are.
    pub(super) fn new(named: &'a [PathBuf]) -> Self {
        Self { links: Vec::new(), named }
    }

    /// Adds an image; an error when it is in the chain already, or the chain is too long.
    pub(super) fn enter(&mut self, path: &Path, format: Format) -> Result<()> {
        let real = path.canonicalize().context(|| format!("opening `{}`", path.display()))?;
        if self.links.iter().any(|link| link.path == real) {
            return Err(Error::input(format!(
                "the backing chain of `{}` contains a loop",
                path.display()
            )));
        }
        if self.links.len() == LONGEST {
            return Err(Error::input(format!("the backing chain has more than {LONGEST} images")));
        }
        self.links.push(ChainLink { path: real, format, parts: None });
        Ok(())
    }

    /// Notes what the image entered last is made of.
    pub(super) fn set_parts(&mut self, parts: ExtentList) {
        if let Some(link) = self.links.last_mut() {
            link.parts = Some(parts);
        }
    }

    /// All images opened so far.
    pub(super) fn into_links(self) -> Vec<ChainLink> {
        self.links
    }

    /// Finds the backing file or parent that the image at `image` calls `name`, without following any
    /// symlink: in the image's own folder, in a virtual machine's folder beside that, or where the user
    /// said. `what` is what messages call it.
    pub(super) fn find_below(&self, image: &Path, name: &str, what: &str) -> Result<NamedFile> {
        let own = Path::new(name).file_name();
        if let Some(path) = self.named.iter().find(|it| own.is_some() && it.file_name() == own) {
            let path = path.canonicalize().context(|| format!("opening `{}`", path.display()))?;
            return Ok(NamedFile { file: open_regular(&path)?, path });
        }
        refuse_protocol(image, name, what)?;
        if is_inside(name) || is_beside(name) {
            return open_from(image, name);
        }
        let shown = image.display();
        Err(Error::input(format!("{what} of `{shown}`, `{name}`, is outside its folder"))
            .hint(format!("if it is meant, name it: `--backing {name}`")))
    }
}

impl ChainLink {
    /// Its own file and those that it is made of.
    pub(super) fn files(self) -> impl Iterator<Item = PathBuf> {
        let extents = self.parts.into_iter().flat_map(|it| it.extents);
        let files = extents.filter_map(|it| match it.content {
            ExtentPlace::Sparse(path) | ExtentPlace::Flat(path, _) => Some(path),
            ExtentPlace::Zeros => None,
        });
        std::iter::once(self.path).chain(files)
    }
}

/// Finds the extent that the image at `image` calls `name`, without following any symlink. It may not
/// leave the image's folder.
pub(super) fn find_extent(image: &Path, name: &str) -> Result<NamedFile> {
    refuse_protocol(image, name, "an extent")?;
    if !is_inside(name) {
        return Err(Error::input(format!("its extent `{name}` is outside its folder")));
    }
    open_from(image, name)
}

/// QEMU takes what comes before a colon for a protocol: `fat:.` is the folder as a disk, `nbd:…` a
/// server's (`path_has_protocol` in its `block.c`). Nobody means a file by such a name.
fn refuse_protocol(image: &Path, name: &str, what: &str) -> Result<()> {
    let end = name.find([':', '/']);
    if end.is_none_or(|at| name.as_bytes()[at] == b'/') {
        return Ok(());
    }
    let shown = image.display();
    Err(Error::input(format!("{what} of `{shown}`, `{name}`, is not the name of a file")).hint(
        "programs take what stands before the colon for a protocol; \
             `qemu-img rebase -u -b FILE -F FORMAT IMAGE` names another file",
    ))
}

/// Whether a name stays in the folder of the image that names it.
fn is_inside(name: &str) -> bool {
    let mut components = Path::new(name).components().peekable();
    components.peek().is_some()
        && components.all(|it| matches!(it, Component::Normal(_) | Component::CurDir))
}

/// Whether a name is `../NAME.vmwarevm/FILE`.
fn is_beside(name: &str) -> bool {
    let components: Vec<_> = Path::new(name).components().collect();
    let [Component::ParentDir, Component::Normal(bundle), Component::Normal(_)] = components[..]
    else {
        return false;
    };
    bundle.as_bytes().ends_with(BUNDLE.as_bytes())
}

/// Opens a regular file by the way that leads from the folder of `image`, none of it a symlink.
fn open_from(image: &Path, name: &str) -> Result<NamedFile> {
    let path = image.with_file_name(name);
    let context = || format!("opening `{}`", path.display());
    let folder = image.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let way = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = || -> Result<File> {
        let mut folder = rustix::fs::open(folder, way, Mode::empty()).map_err(io::Error::from)?;
        let mut components = Path::new(name).components().peekable();
        while let Some(component) = components.next() {
            let at = component.as_os_str();
            if components.peek().is_some() {
                let inside = rustix::fs::openat(&folder, at, way | OFlags::NOFOLLOW, Mode::empty());
                folder = inside.map_err(|error| not_followed(error.into(), &folder, at))?;
                continue;
            }
            // Asked before opening: to open a pipe is to wait.
            let stat = rustix::fs::statat(&folder, at, AtFlags::SYMLINK_NOFOLLOW);
            let kind = FileType::from_raw_mode(stat.map_err(io::Error::from)?.st_mode);
            if kind == FileType::Symlink {
                return Err(is_symlink());
            }
            if kind != FileType::RegularFile {
                return Err(Error::input("it is not a file"));
            }
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&folder, at, flags, Mode::empty());
            return Ok(File::from(file.map_err(io::Error::from)?));
        }
        Err(Error::input("it is not a file"))
    };
    let file = open().context(context)?;
    Ok(NamedFile { path, file })
}

/// Why a folder on the way could not be opened: that it is a symlink is said in words.
fn not_followed(
    error: io::Error,
    folder: &impl std::os::fd::AsFd,
    name: &std::ffi::OsStr,
) -> Error {
    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    match stat {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => is_symlink(),
        Ok(_) | Err(_) => error.into(),
    }
}

fn is_symlink() -> Error {
    Error::input("symlinks that an image leads to are not followed")
        .hint("put the file itself there")
}
