//! Volumes mounted into each other: the tree a process inside the image would see.

mod change;
mod tree;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::fs::resolve::{Location, Mounts, Place, Step, components};
use crate::fs::volume::{Node, Volume};
use crate::fs::written::{Expected, Written};
use crate::fs::{FileType, Metadata};
use crate::util::error::{Context, Error, Result};

/// A volume and where it is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The directory its root covers; `/` for the root's.
    pub point: PathBuf,
    /// What it is: `ext4`, `FAT32`.
    pub kind: &'static str,
}

/// A root volume with others mounted in it.
pub struct Namespace {
    volumes: Vec<Box<dyn Volume>>,
    /// In the order of `volumes`.
    mounts: Vec<Mount>,
    covers: HashMap<Location, usize>,
    written: Written,
    /// The directory used last: calls come in runs that name one directory.
    recent: Mutex<Option<Recent>>,
}

struct Recent {
    /// As it was named.
    path: PathBuf,
    trail: Vec<Step>,
    /// What a listing showed to be in it.
    names: HashMap<OsString, Node>,
}

/// A name in a directory, and what is there.
struct Slot {
    place: Place,
    directory: Location,
    name: OsString,
    existing: Option<(Location, Metadata)>,
}

impl Namespace {
    /// A tree of one volume.
    pub fn new(root: Box<dyn Volume>) -> Self {
        let mount = Mount { point: "/".into(), kind: root.kind() };
        Self {
            volumes: vec![root],
            mounts: vec![mount],
            covers: HashMap::new(),
            written: Written::default(),
            recent: Mutex::new(None),
        }
    }

    /// Covers the directory `point`, which must exist, with the root of another volume.
    pub fn mount(&mut self, point: &Path, volume: Box<dyn Volume>) -> Result<()> {
        let mount = || -> Result<Location> {
            let place = self.place(point, true)?;
            let at = place.existing().ok_or_else(|| Error::input("no such directory"))?;
            let metadata = self.mounts().volume(at).metadata(at.node)?;
            if metadata.file_type == FileType::Directory {
                Ok(at)
            } else {
                Err(Error::input("not a directory"))
            }
        };
        let at = mount().context(|| format!("mounting `{}`", point.display()))?;
        self.forget();
        self.covers.insert(at, self.volumes.len());
        self.mounts.push(Mount { point: point.to_owned(), kind: volume.kind() });
        self.volumes.push(volume);
        Ok(())
    }

    /// The mounts, the root's first.
    pub fn mount_table(&self) -> &[Mount] {
        &self.mounts
    }

    /// The volume of each mount, in the same order.
    pub fn volumes(&self) -> impl Iterator<Item = &dyn Volume> {
        self.volumes.iter().map(|volume| &**volume)
    }

    /// Every path changed so far, without symlinks, and what must be found there: `None` is nothing.
    pub fn written(&self) -> impl Iterator<Item = (&Path, Option<&Expected>)> {
        self.written.iter()
    }

    fn mounts(&self) -> Mounts<'_> {
        Mounts { volumes: &self.volumes, covers: &self.covers }
    }

    fn forget(&mut self) {
        *self.recent.get_mut().expect("no reader panicked") = None;
    }

    /// Walks `path`.
    fn place(&self, path: &Path, follow_last: bool) -> Result<Place> {
        let mounts = self.mounts();
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return mounts.walk(vec![mounts.root()], components(path)?, follow_last);
        };
        let mut recent = self.recent.lock().expect("no reader panicked");
        let known = recent.as_ref().filter(|recent| recent.path == directory);
        let trail = if let Some(known) = known {
            if let Some(&node) = known.names.get(name)
                && !follow_last
            {
                let volume = known.trail.last().expect("a trail has a root").at.volume;
                let mut trail = known.trail.clone();
                trail.push(mounts.enter(name.to_owned(), Location { volume, node }));
                return Ok(Place { trail, missing: Vec::new() });
            }
            known.trail.clone()
        } else {
            let mut place = mounts.walk(vec![mounts.root()], components(directory)?, true)?;
            if !place.missing.is_empty() {
                place.missing.push(name.to_owned());
                return Ok(place);
            }
            *recent = Some(Recent {
                path: directory.to_owned(),
                trail: place.trail.clone(),
                names: HashMap::new(),
            });
            place.trail
        };
        mounts.walk(trail, vec![name.to_owned()], follow_last)
    }

    fn existing(&self, path: &Path) -> Result<Location> {
        self.place(path, false)?.existing().ok_or_else(|| Error::input("no such file or directory"))
    }

    /// The name that `path` stands for, to be made, replaced or removed.
    fn slot(&self, path: &Path) -> Result<Slot> {
        let place = self.place(path, false)?;
        let (directory, name, existing) = match (&*place.missing, &*place.trail) {
            ([], [.., above, last]) => {
                let metadata = self.mounts().volume(last.at).metadata(last.at.node)?;
                (above.at, last.name.clone(), Some((last.at, metadata)))
            }
            ([], _) => return Err(Error::input("the root directory cannot be replaced")),
            ([name], [.., above]) => (above.at, name.clone(), None),
            _ => {
                let mut parent = place.path();
                parent.pop();
                return Err(Error::input(format!("`{}` does not exist", parent.display())));
            }
        };
        if !self.mounts().volume(directory).is_writable() {
            return Err(Error::failure("the image is open for reading only"));
        }
        Ok(Slot { place, directory, name, existing })
    }
}
