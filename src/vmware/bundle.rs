//! `.vmwarevm` folders: which machines there are, and what they were cloned from.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::util::error::{Context, Error, Result};

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Its folder's name without the ending.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// The file in it that VMware knows it by.
    pub vmx: PathBuf,
    /// The bundle of the template whose disk it reads; `None` for a machine that is not a linked clone.
    pub template: Option<PathBuf>,
}

impl Bundle {
    /// All machines in a folder, by name.
    pub fn all(output: &Path) -> Result<Vec<Self>> {
        let context = || format!("cannot look for machines in `{}`", output.display());
        let output = output.canonicalize().context(context)?;
        let mut bundles = Vec::new();
        for entry in fs::read_dir(&output).context(context)? {
            let folder = entry.context(context)?.path();
            if folder.extension().is_some_and(|it| it == "vmwarevm") && folder.is_dir() {
                bundles.extend(Self::open(&folder)?);
            }
        }
        bundles.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(bundles)
    }

    /// The machine in a bundle; `None` when there is none.
    fn open(folder: &Path) -> Result<Option<Self>> {
        let name = folder.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let vmx = folder.join(format!("{name}.vmx"));
        if !vmx.is_file() {
            return Ok(None);
        }
        let vmsd = folder.join(format!("{name}.vmsd"));
        let text = match fs::read_to_string(&vmsd) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(error).context(|| format!("cannot read `{}`", vmsd.display()));
            }
        };
        let origin = value(&text, "cloneOf0").map(|path| plain(&folder.join(path)));
        let template = origin.and_then(|vmx| vmx.parent().map(Path::to_owned));
        Ok(Some(Self { name, folder: folder.to_owned(), vmx, template }))
    }

    /// The machines called `names`, in that order.
    pub fn select<'a>(all: &'a [Self], names: &[String]) -> Result<Vec<&'a Self>> {
        let find = |name: &String| {
            all.iter().find(|it| it.name == *name).ok_or_else(|| {
                let known: Vec<_> = all.iter().map(|it| it.name.as_str()).collect();
                Error::input(format!("cannot find a machine `{name}`")).hint(
                    match known.as_slice() {
                        [] => "`nodeforge build --format vmwarevm` makes them".to_owned(),
                        [..] => format!("there are {}", known.join(", ")),
                    },
                )
            })
        };
        names.iter().map(find).collect()
    }

    /// Whether its disks are read by others.
    pub fn clones<'a>(&self, all: &'a [Self]) -> Vec<&'a Self> {
        all.iter().filter(|it| it.template.as_ref() == Some(&self.folder)).collect()
    }
}

/// A value of VMware's `key = "value"` lines.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once('=')?;
        let value = value.trim().strip_prefix('"')?.strip_suffix('"')?;
        (found.trim() == key).then_some(value)
    })
}

/// A path without `..`, whether it is there or not.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => {
                plain.push(component);
            }
        }
    }
    plain
}
