//! From a path to a node: one walk for all file systems, as a process inside the image takes it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::FileType;
use super::volume::{Node, Volume};
use crate::util::error::{Error, Result};

/// As many symlinks as Linux follows in one path (`MAXSYMLINKS`).
const MAX_LINKS: u32 = 40;

/// A node and the volume it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Location {
    /// Index of the volume in the namespace.
    pub(super) volume: usize,
    /// The node on it.
    pub(super) node: Node,
}

/// A directory or file on the way from the root, and the name that led to it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// Empty for the root.
    pub(super) name: OsString,
    /// Where it led; on top of whatever is mounted there.
    pub(super) at: Location,
}

/// Where a path leads.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Everything that exists on the way, from the root; never empty. No symlink among them but
    /// perhaps the last.
    pub(super) trail: Vec<Step>,
    /// The components after that, which do not exist.
    pub(super) missing: Vec<OsString>,
}

impl Place {
    /// What the path leads to, if it exists.
    pub(super) fn existing(&self) -> Option<Location> {
        if self.missing.is_empty() { self.trail.last().map(|step| step.at) } else { None }
    }

    /// The path without symlinks.
    pub(super) fn path(&self) -> PathBuf {
        let mut path = PathBuf::from("/");
        path.extend(self.trail.iter().skip(1).map(|step| &step.name));
        path.extend(&self.missing);
        path
    }
}

/// The volumes and which of them covers which directory.
pub(super) struct Mounts<'a> {
    pub(super) volumes: &'a [Box<dyn Volume>],
    pub(super) covers: &'a HashMap<Location, usize>,
}

impl<'a> Mounts<'a> {
    pub(super) fn volume(&self, at: Location) -> &'a dyn Volume {
        &*self.volumes[at.volume]
    }

    pub(super) fn root(&self) -> Step {
        self.enter(OsString::new(), Location { volume: 0, node: self.volumes[0].root() })
    }

    /// A step to `at`, or to the root of what is mounted there.
    pub(super) fn enter(&self, name: OsString, mut at: Location) -> Step {
        while let Some(&volume) = self.covers.get(&at) {
            at = Location { volume, node: self.volumes[volume].root() };
        }
        Step { name, at }
    }

    fn file_type(&self, at: Location) -> Result<FileType> {
        Ok(self.volume(at).metadata(at.node)?.file_type)
    }

    /// Walks on from the end of `trail` by the components `ahead`, the next one last. The final
    /// component is followed when `follow_last`; all others always are.
    pub(super) fn walk(
        &self,
        mut trail: Vec<Step>,
        mut ahead: Vec<OsString>,
        follow_last: bool,
    ) -> Result<Place> {
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            let here = trail.last().expect("the root is never popped").at;
            if name == "." || name.is_empty() {
                continue;
            }
            if self.file_type(here)? != FileType::Directory {
                return Err(not_a_directory(&trail));
            }
            if name == ".." {
                if trail.len() > 1 {
                    trail.pop();
                }
                continue;
            }
            let Some(node) = self.volume(here).lookup(here.node, &name)? else {
                let missing = std::iter::once(name).chain(ahead.into_iter().rev()).collect();
                return Ok(Place { trail, missing });
            };
            let step = self.enter(name, Location { volume: here.volume, node });
            let is_last = ahead.is_empty();
            if (is_last && !follow_last) || self.file_type(step.at)? != FileType::Symlink {
                trail.push(step);
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(Error::input("too many levels of symbolic links"));
            }
            let target = self.volume(step.at).read_link(step.at.node)?;
            if target.as_bytes().starts_with(b"/") {
                trail.truncate(1);
            }
            ahead.extend(split(&target).map(OsStr::to_owned).rev());
        }
        Ok(Place { trail, missing: Vec::new() })
    }
}

/// A path's components, the first one last, as [`Mounts::walk`] takes them.
pub(super) fn components(path: &Path) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    let mut absolute = false;
    for component in path.components() {
        match component {
            Component::RootDir => absolute = true,
            Component::Prefix(_)
            | Component::CurDir
            | Component::ParentDir
            | Component::Normal(_) => {
                names.push(component.as_os_str().to_owned());
            }
        }
    }
    if !absolute {
        return Err(Error::input("the path is not absolute"));
    }
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(Error::input("the path holds a zero byte"));
    }
    names.reverse();
    Ok(names)
}

/// A symlink's target at its slashes: unlike `Path::components`, a `.` after a slash stays.
fn split(target: &OsStr) -> impl DoubleEndedIterator<Item = &OsStr> {
    target.as_bytes().split(|&byte| byte == b'/').map(OsStr::from_bytes)
}

fn not_a_directory(trail: &[Step]) -> Error {
    let place = Place { trail: trail.to_vec(), missing: Vec::new() };
    Error::input(format!("`{}` is not a directory", place.path().display()))
}
