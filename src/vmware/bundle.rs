//! `.vmwarevm` folders: which machines there are, and what they were cloned from.

use std::ffi::OsStr;
use std::fs;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use super::guest_status::is_word;
use super::vmx::{ADDRESS, ROLE};
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
    /// The role that the build gave it.
    pub role: Option<String>,
    /// The static address that the build gave it, without its prefix.
    pub address: Option<String>,
    /// The machine that its folder was copied from: with that one's MAC address, or UUID, and so with
    /// all that is on its disk.
    pub copy_of: Option<String>,
    /// What a copy has in common with its original: MAC address and UUID.
    identity: [Option<String>; 2],
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
        find_copies(&mut bundles);
        Ok(bundles)
    }

    /// The machine in a bundle; `None` when there is none.
    fn open(folder: &Path) -> Result<Option<Self>> {
        let name = folder.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let Some(vmx) = find_vmx(folder, &name)? else { return Ok(None) };
        let clone = read_if_any(&vmx.with_extension("vmsd"))?;
        let origin = value(&clone, "cloneOf0").map(|path| plain(&folder.join(path)));
        let template = origin.and_then(|vmx| vmx.parent().map(Path::to_owned));
        let machine = read_if_any(&vmx)?;
        let own = |key: &str| value(&machine, key).map(str::to_owned);
        Ok(Some(Self {
            name,
            folder: folder.to_owned(),
            template,
            role: own(ROLE).filter(|role| is_word(role)),
            address: own(ADDRESS).filter(|address| address.parse::<IpAddr>().is_ok()),
            copy_of: None,
            identity: [own("ethernet0.address"), own("uuid.bios")],
            vmx,
        }))
    }

    /// Whether one of the two was made by copying the other.
    pub fn is_twin_of(&self, other: &Self) -> bool {
        self.identity.iter().zip(&other.identity).any(|(a, b)| a.is_some() && a == b)
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

/// The file that VMware knows a machine by: named as its folder is, unless that was renamed.
fn find_vmx(folder: &Path, name: &str) -> Result<Option<PathBuf>> {
    let own = folder.join(format!("{name}.vmx"));
    if own.is_file() {
        return Ok(Some(own));
    }
    let mut found = Vec::new();
    let context = || format!("cannot look for a machine in `{}`", folder.display());
    for entry in fs::read_dir(folder).context(context)? {
        let path = entry.context(context)?.path();
        if path.extension().is_some_and(|it| it == "vmx") && path.is_file() {
            found.push(path);
        }
    }
    Ok(if found.len() == 1 { found.pop() } else { None })
}

/// Notes of each machine whose twin it is. The original is the one whose folder has its name still.
fn find_copies(bundles: &mut [Bundle]) {
    let is_original = |it: &Bundle| it.vmx.file_stem() == Some(OsStr::new(&it.name));
    for at in 0..bundles.len() {
        let own = &bundles[at];
        let mut twins =
            bundles.iter().enumerate().filter(|(other, it)| *other != at && it.is_twin_of(own));
        let original = if is_original(own) {
            // Of several that have names of their own, the first.
            twins.find(|(other, it)| is_original(it) && *other < at)
        } else {
            let twins: Vec<_> = twins.collect();
            let first = twins.iter().find(|(_, it)| is_original(it));
            first.or_else(|| twins.first().filter(|(other, _)| *other < at)).copied()
        };
        bundles[at].copy_of = original.map(|(_, it)| it.name.clone());
    }
}

/// A file's text; empty when there is none.
fn read_if_any(path: &Path) -> Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).context(|| format!("cannot read `{}`", path.display())),
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
