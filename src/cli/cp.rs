use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};
use rustix::fs::Mode;
use rustix::process::umask;

use super::edit::EditOptions;
use super::output::counted;
use super::place::{Location, ReadArgs, missing};
use super::ui::{Ui, bytes};
use crate::fs::{FileType, Tree};
use crate::guest::accounts::AccountNames;
use crate::image::Image;
use crate::image::copy::{
    self, Copied, CopyOptions, CopyTarget, HostTree, Withheld, ends_in_slash, is_content,
};
use crate::util::error::{Context, Error, Result};
use crate::util::new_files::behind_sudo;

/// Copy files between this machine and images, or between images
///
/// Owner, mode, time, extended attributes, symlinks and hard links are kept where the target can
/// keep them. Files in the way are replaced; directories in the way are filled and stay as they are.
///
/// What leaves an image is somebody else's: unless `--preserve` is given, the copies on this machine
/// are files, directories and links of the user who makes them, without set-uid and set-gid bits and
/// without capabilities. What cannot be read is reported and left out.
///
/// Only raw images and block devices can be written. The image is changed only when everything was
/// copied, read back and checked: an error leaves it as it was. Once that is so, the change is
/// written to a journal beside the image (`.IMAGE.nodeforge-edit`) before it is carried over. If that
/// is interrupted, by a power cut for one, nodeforge reads the image through the journal, and the next
/// change finishes it; other programs should not use the image until then. A block device has no
/// journal: check its file systems after a power cut during the last moments of a copy.
#[derive(Debug, Args)]
pub(super) struct CpCommand {
    /// Files to copy, then where to: each a path of this machine or `IMAGE:/path`
    ///
    /// A path of this machine with `:/` in it is written `./path`.
    #[arg(value_name = "SOURCE... DESTINATION", required = true, num_args = 2..)]
    #[arg(value_parser = OsStringValueParser::new().map(Location::from))]
    paths: Vec<Location>,

    /// Copy directories with all that is in them, and symlinks as symlinks
    #[arg(short, long)]
    recursive: bool,

    /// Keep owners, all mode bits, extended attributes and devices in copies on this machine, too
    #[arg(short, long)]
    preserve: bool,

    /// Who owns the copies in an image, by the image's names or by number
    #[arg(long, value_name = "USER[:GROUP]")]
    owner: Option<String>,

    #[command(flatten)]
    options: EditOptions,

    #[command(flatten)]
    images: ReadArgs,
}

/// Where a copy comes from: a tree, the path in it, and the name it has.
struct CopySource {
    tree: Box<dyn Tree>,
    path: PathBuf,
    /// `None` for a root, whose content is meant.
    name: Option<OsString>,
}

impl CpCommand {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        let (destination, sources) = self.paths.split_last().expect("clap wants two");
        let copied = match destination {
            Location::Inside { image, path } => {
                let mut edit = EditOptions::open(image)?;
                let copied = self.copy_in(sources, edit.image(), path);
                let copied = copied.map_err(|error| edit.explain(error))?;
                self.options.commit(edit, image, ui)?;
                copied
            }
            Location::Host(path) => self.copy_out(sources, path, ui)?,
        };
        ui.detail(&format!(
            "copied {}, {}",
            counted(copied.entries, "file", "files"),
            bytes(copied.bytes)
        ));
        if copied.left_out > 0 {
            let nodes =
                counted(copied.left_out, "device, pipe or socket", "devices, pipes and sockets");
            ui.note(&format!("note: {nodes} left out: `--preserve` copies them"));
        }
        Error::failures(copied.unread)
    }

    fn copy_in(&self, sources: &[Location], image: &mut Image, path: &Path) -> Result<Copied> {
        let owner = self.owner.as_deref().map(|owner| find_owner(image, owner)).transpose()?;
        let options = CopyOptions { owner, ..CopyOptions::default() };
        if sources.len() > 1 {
            require_directory(image, path)?;
        }
        let mut copied = Copied::default();
        for source in sources {
            let source = self.open(source)?;
            let name = source.name.as_deref();
            let target = copy::destination(image, path, name, !self.recursive)?;
            copied = sum(copied, source.copy(image, &target, options)?);
        }
        Ok(copied)
    }

    fn copy_out(&self, sources: &[Location], path: &Path, ui: &Ui) -> Result<Copied> {
        if self.owner.is_some() {
            return Err(Error::input("`--owner` is for copies in an image")
                .hint("chown(1) gives files of this machine away"));
        }
        if let Some(Location::Host(source)) =
            sources.iter().find(|it| matches!(it, Location::Host(_)))
        {
            return Err(Error::input(format!(
                "neither `{}` nor `{}` is in an image",
                source.display(),
                path.display()
            ))
            .hint("write `IMAGE:/PATH` for a file in an image; for others there is cp(1)"));
        }
        let (folder, file) = host_destination(path, sources.len() > 1)?;
        let mut tree = HostTree::open(&folder)?;
        let mut copied = Copied::default();
        for source in sources {
            let source = self.open(source)?;
            let target = match (&file, &source.name) {
                (Some(name), _) | (None, Some(name)) => Path::new("/").join(name),
                (None, None) => "/".into(),
            };
            let done = source.copy(&mut tree, &target, self.options_out());
            copied = sum(copied, done.context(|| format!("copying to `{}`", path.display()))?);
        }
        report(tree.withheld(), ui);
        Ok(copied)
    }

    /// How copies on this machine are made.
    fn options_out(&self) -> CopyOptions {
        if self.preserve {
            return CopyOptions { goes_on: true, ..CopyOptions::default() };
        }
        // There is no other way to ask for it.
        let umask = umask(Mode::empty());
        rustix::process::umask(umask);
        // A mode has 16 bits on macOS.
        let plain = u64::from(umask.bits()).try_into().ok();
        CopyOptions { owner: Some(user()), plain, goes_on: true }
    }

    fn open(&self, place: &Location) -> Result<CopySource> {
        let source = match place {
            Location::Inside { image, path } => {
                let tree = self.images.open(image)?;
                let found =
                    if self.recursive { lexical(&tree, path)? } else { tree.resolve(path)? };
                let found = found.ok_or_else(|| missing(image, path))?;
                CopySource { tree: Box::new(tree), path: found, name: name(path) }
            }
            Location::Host(path) => self.open_host(path)?,
        };
        let metadata = source.tree.metadata(&source.path)?;
        let is_directory = metadata.is_some_and(|it| it.file_type == FileType::Directory);
        if is_directory && !self.recursive {
            let (_, path) = match place {
                Location::Host(path) => (path, path),
                Location::Inside { image, path } => (image, path),
            };
            return Err(Error::input(format!("`{}` is a directory", path.display()))
                .hint("`-r` copies it with all that is in it"));
        }
        Ok(source)
    }

    fn open_host(&self, path: &Path) -> Result<CopySource> {
        let opening = || format!("opening `{}`", path.display());
        // With -r, a symlink is copied as one; without, or with a slash after it, what it points at.
        let is_itself = self.recursive && !ends_in_slash(path);
        let real =
            if is_itself { path.to_owned() } else { path.canonicalize().context(opening)? };
        real.symlink_metadata().context(opening)?;
        let (folder, inside) = match (real.parent(), real.file_name()) {
            (Some(folder), Some(inside)) => (folder, Path::new("/").join(inside)),
            _ => (&*real, "/".into()),
        };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        Ok(CopySource { tree: Box::new(HostTree::open(folder)?), path: inside, name: name(path) })
    }
}

impl CopySource {
    fn copy(&self, to: &mut dyn CopyTarget, target: &Path, options: CopyOptions) -> Result<Copied> {
        copy::copy(&*self.tree, &self.path, to, target, options)
    }
}

/// The name that a copy of what is at `path` gets; `None` for what is in a directory.
fn name(path: &Path) -> Option<OsString> {
    path.file_name().filter(|_| !is_content(path)).map(OsStr::to_owned)
}

/// Whose copies on this machine are: the user's who called sudo, if it was called.
fn user() -> (u32, u32) {
    behind_sudo().map_or_else(
        || (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
        |user| (user.uid, user.gid),
    )
}

/// Several files need a directory to go to.
fn require_directory(tree: &dyn Tree, path: &Path) -> Result<()> {
    let found = tree.resolve(path)?.map(|path| tree.metadata(&path)).transpose()?.flatten();
    if found.is_some_and(|it| it.file_type == FileType::Directory) {
        return Ok(());
    }
    Err(Error::input(format!("`{}` is not a directory", path.display()))
        .hint("several files can only be copied into a directory that exists"))
}

/// The path with its last component not followed, by a way without symlinks.
fn lexical(tree: &dyn Tree, path: &Path) -> Result<Option<PathBuf>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return tree.resolve(path);
    };
    if ends_in_slash(path) {
        return tree.resolve(path);
    }
    let Some(folder) = tree.resolve(folder)? else { return Ok(None) };
    let path = folder.join(name);
    Ok(tree.metadata(&path)?.map(|_| path))
}

/// The folder of this machine that copies go to, and the one name they get there, if it is one.
fn host_destination(path: &Path, several: bool) -> Result<(PathBuf, Option<OsString>)> {
    if path.is_dir() {
        return Ok((path.to_owned(), None));
    }
    let shown = path.display();
    if several || ends_in_slash(path) {
        return Err(Error::input(format!("`{shown}` is not a directory")));
    }
    let path = match path.metadata() {
        Ok(metadata) if metadata.is_file() => path.canonicalize()?,
        Ok(_) => {
            return Err(Error::input(format!("`{shown}` is not a regular file"))
                .hint("`nodeforge cat` writes to pipes and devices"));
        }
        Err(_) => path.to_owned(),
    };
    let name =
        path.file_name().ok_or_else(|| Error::input(format!("`{shown}` does not name a file")))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    Ok((folder.unwrap_or(Path::new(".")).to_owned(), Some(name.to_owned())))
}

fn find_owner(image: &Image, owner: &str) -> Result<(u32, u32)> {
    let names = AccountNames::read(image)?;
    let (user, group) = owner.split_once(':').unwrap_or((owner, owner));
    let unknown = |kind: &str, name: &str| {
        Error::input(format!("the image has no {kind} `{name}`")).hint("a number works as well")
    };
    let uid = names.uid(user).ok_or_else(|| unknown("user", user))?;
    let gid = names.gid(group).ok_or_else(|| unknown("group", group))?;
    Ok((uid, gid))
}

/// Says what only root could have kept.
fn report(withheld: Withheld, ui: &Ui) {
    let lines = [
        (withheld.owners, "file belongs", "files belong", "to you: only root can give files away"),
        (withheld.xattrs, "extended attribute was", "extended attributes were", "left out"),
        (withheld.devices, "device was", "devices were", "left out: only root can make them"),
    ];
    for (count, one, many, what) in lines {
        if count > 0 {
            ui.note(&format!("note: {} {what}", counted(count, one, many)));
        }
    }
}

fn sum(a: Copied, b: Copied) -> Copied {
    Copied {
        entries: a.entries + b.entries,
        bytes: a.bytes + b.bytes,
        left_out: a.left_out + b.left_out,
        unread: [a.unread, b.unread].concat(),
    }
}
