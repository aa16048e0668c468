use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};
use serde::Serialize;

use super::output::{print, print_json};
use super::place::{Location, ReadArgs, missing};
use crate::fs::{FileType, Metadata, Tree};
use crate::guest::accounts::AccountNames;
use crate::util::error::{Error, ErrorKind, Problem, Result};
use crate::util::printable::printable;
use crate::util::rfc3339::{minutes, rfc3339};

/// List files of an image
///
/// Names that begin with a dot are listed too. Owners' names are those of the image, times are UTC.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "they are what ls(1) has")]
pub(super) struct LsCommand {
    /// A directory or file as `IMAGE:/path`; the root when there is no path
    #[arg(value_name = "IMAGE[:/PATH]", value_parser = OsStringValueParser::new().map(Location::from))]
    place: Location,

    /// Show type, mode, links, owner, group, size and time
    #[arg(short)]
    long: bool,

    /// List what is in directories too, as paths from the one asked for
    #[arg(short = 'R', long)]
    recursive: bool,

    /// List a directory itself, not what is in it
    #[arg(short, long)]
    directory: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    images: ReadArgs,
}

/// One line of the listing.
#[derive(Serialize)]
struct ListedPath {
    path: String,
    #[serde(rename = "type")]
    kind: &'static str,
    size: u64,
    mode: String,
    links: u32,
    uid: u32,
    gid: u32,
    user: String,
    group: String,
    modified: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<(u32, u32)>,
    #[serde(skip)]
    metadata: Metadata,
}

/// More directories inside each other than any path names: they contain themselves.
const MAX_DEPTH: usize = 2048;

impl LsCommand {
    pub(super) fn run(&self) -> Result<()> {
        let (image, path) = self.place.inside();
        let tree = self.images.open(image)?;
        let names = AccountNames::read(&tree)?;
        let listing = Listing { tree: &tree, names: &names };
        let start = self.start(&tree, image, path)?;
        let is_directory = tree
            .metadata(&start)?
            .is_some_and(|metadata| metadata.file_type == FileType::Directory);
        let mut listed = ListedTree::default();
        if is_directory && !self.directory {
            listing.directory(&start, Path::new(""), self.recursive, 0, &mut listed)?;
        } else {
            listed.lines.push(listing.line(&start, path.to_string_lossy().into_owned())?);
        }
        let ListedTree { lines, unread, .. } = listed;
        if self.json {
            print_json(&lines)?;
        } else {
            print(&if self.long { long(&lines) } else { short(&lines) })?;
        }
        Error::failures(unread)
    }

    /// The path to list: a symlink to a directory stands for it, any other for itself.
    fn start(&self, tree: &dyn Tree, image: &Path, path: &Path) -> Result<PathBuf> {
        if !self.directory
            && let Some(found) = tree.resolve(path)?
            && tree.metadata(&found)?.is_some_and(|it| it.file_type == FileType::Directory)
        {
            return Ok(found);
        }
        match tree.metadata(path)? {
            Some(_) => Ok(path.to_owned()),
            None => Err(missing(image, path)),
        }
    }
}

/// What was found, and what could not be read.
#[derive(Default)]
struct ListedTree {
    lines: Vec<ListedPath>,
    unread: Vec<Problem>,
    /// Whether a directory contains itself.
    is_endless: bool,
}

struct Listing<'a> {
    tree: &'a dyn Tree,
    names: &'a AccountNames,
}

impl Listing<'_> {
    fn directory(
        &self,
        path: &Path,
        shown: &Path,
        recursive: bool,
        depth: usize,
        listed: &mut ListedTree,
    ) -> Result<()> {
        crate::util::interrupt::check()?;
        if depth > MAX_DEPTH {
            listed.is_endless = true;
            return Err(Error::failure(format!(
                "the file system is damaged: `{}` contains itself",
                path.display()
            )));
        }
        for entry in self.tree.read_dir(path)? {
            let (path, shown) = (path.join(&entry.name), shown.join(&entry.name));
            let name = shown.to_string_lossy().into_owned();
            let below = self.line(&path, name).and_then(|line| {
                listed.lines.push(line);
                if !recursive || entry.file_type != FileType::Directory {
                    return Ok(());
                }
                self.directory(&path, &shown, recursive, depth + 1, listed)
            });
            match below {
                // What cannot be read hides nothing else.
                Err(error) if error.kind() != ErrorKind::Interrupted && !listed.is_endless => {
                    listed.unread.extend(error.problems().iter().cloned());
                }
                below => below?,
            }
        }
        Ok(())
    }

    fn line(&self, path: &Path, shown: String) -> Result<ListedPath> {
        let metadata = self.tree.metadata(path)?.ok_or_else(|| {
            Error::failure(format!("`{}` is listed but cannot be found", path.display()))
        })?;
        let target = if metadata.file_type == FileType::Symlink {
            Some(self.tree.read_link(path)?.to_string_lossy().into_owned())
        } else {
            None
        };
        let is_device =
            matches!(metadata.file_type, FileType::CharacterDevice | FileType::BlockDevice);
        Ok(ListedPath {
            path: shown,
            kind: type_name(metadata.file_type),
            size: metadata.size,
            mode: format!("{:04o}", metadata.mode),
            links: metadata.links,
            uid: metadata.uid,
            gid: metadata.gid,
            user: self.names.user(metadata.uid),
            group: self.names.group(metadata.gid),
            modified: rfc3339(metadata.modified.0),
            target,
            device: is_device.then_some(metadata.device),
            metadata,
        })
    }
}

fn type_name(file_type: FileType) -> &'static str {
    match file_type {
        FileType::File => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "symlink",
        FileType::CharacterDevice => "character-device",
        FileType::BlockDevice => "block-device",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
    }
}

fn short(lines: &[ListedPath]) -> String {
    lines.iter().map(|line| printable(&line.path) + "\n").collect()
}

/// As `ls -l` prints them.
fn long(lines: &[ListedPath]) -> String {
    let rows: Vec<[String; 4]> = lines
        .iter()
        .map(|line| {
            let size = match line.device {
                Some((major, minor)) => format!("{major}, {minor}"),
                None => line.size.to_string(),
            };
            [line.links.to_string(), printable(&line.user), printable(&line.group), size]
        })
        .collect();
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let (links, user, group, size) = (width(0), width(1), width(2), width(3));
    let mut text = String::new();
    for (entry, columns) in lines.iter().zip(&rows) {
        let mode = mode_text(&entry.metadata);
        let time = minutes(entry.metadata.modified.0);
        let target = entry.target.as_ref().map_or_else(String::new, |to| format!(" -> {to}"));
        let name = printable(&format!("{}{target}", entry.path));
        writeln!(
            text,
            "{mode} {:>links$} {:<user$} {:<group$} {:>size$} {time} {name}",
            columns[0], columns[1], columns[2], columns[3]
        )
        .expect("writing to a string");
    }
    text
}

/// `drwxr-sr-t`.
fn mode_text(metadata: &Metadata) -> String {
    let mut text = String::from(match metadata.file_type {
        FileType::File => '-',
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
    });
    let special = [(0o4000, 's', 'S'), (0o2000, 's', 'S'), (0o1000, 't', 'T')];
    for (index, (bit, both, alone)) in special.into_iter().enumerate() {
        let mode = metadata.mode >> (6 - 3 * index);
        let has_special = metadata.mode & bit != 0;
        text.push(if mode & 4 != 0 { 'r' } else { '-' });
        text.push(if mode & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & 1 != 0, has_special) {
            (true, true) => both,
            (false, true) => alone,
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}
