//! Finding the root file system, and mounting the others into it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::part::Part;
use super::read_only::ReadOnly;
use crate::disk::Disk;
use crate::fs::{self, FileType, Kind, Namespace, Tree, Volume};
use crate::guest::files::read_lossy;
use crate::guest::fstab::{self, Identity};
use crate::guest::os_release::OS_RELEASE;
use crate::util::error::{Context, Error, Result};

/// The label Raspberry Pi OS and many others give their root file system.
const ROOT_LABEL: &str = "rootfs";

/// Something the fstab mounts that is not mounted here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Where it would be.
    pub point: PathBuf,
    /// What it is: `partition 3`.
    pub part: String,
    /// Why it is not.
    pub reason: String,
}

pub(super) struct Mounted {
    pub(super) namespace: Namespace,
    /// Index of the root's part.
    pub(super) root: usize,
    pub(super) skipped: Vec<Skipped>,
}

/// Mounts all that the image's fstab mounts, and notes the mount points in `parts`.
pub(super) fn mount(disk: &Arc<dyn Disk>, clock: i64, parts: &mut [Part]) -> Result<Mounted> {
    let (root, mut namespace) = find_root(disk, clock, parts)?;
    parts[root].mount_point = Some("/".into());
    let identities = identify(disk, clock, parts);
    let mut skipped = Vec::new();
    let lines = read_lossy(&namespace, "/etc/fstab")?.unwrap_or_default();
    for line in fstab::parse(&lines) {
        let meant = identities.iter().position(|identity| identity.is_meant_by(&line.source));
        let Some(index) = meant.filter(|&index| parts[index].mount_point.is_none()) else {
            continue;
        };
        let part = &mut parts[index];
        if let Some(reason) = obstacle(&namespace, part.kind, &line.point)? {
            skipped.push(Skipped { point: line.point, part: part.name(), reason });
            continue;
        }
        let volume = open(disk, clock, part)?;
        namespace.mount(&line.point, volume)?;
        part.mount_point = Some(line.point);
    }
    Ok(Mounted { namespace, root, skipped })
}

/// The file system of the partition with a number, and its index.
pub(super) fn mount_alone(
    disk: &Arc<dyn Disk>,
    clock: i64,
    parts: &mut [Part],
    number: u32,
) -> Result<(Namespace, usize)> {
    let Some(index) = parts.iter().position(|part| part.number() == Some(number)) else {
        let numbers: Vec<String> =
            parts.iter().filter_map(Part::number).map(|it| it.to_string()).collect();
        let error = Error::input(format!("there is no partition {number}"));
        return Err(error.hint(match numbers.as_slice() {
            [] => "it has no partition table: leave the number out".to_owned(),
            [..] => format!("there are {}", numbers.join(", ")),
        }));
    };
    let namespace = Namespace::new(open(disk, clock, &parts[index])?);
    parts[index].mount_point = Some("/".into());
    Ok((namespace, index))
}

/// Mounts the same parts in the same places, whatever the fstab says by now.
pub(super) fn remount(
    disk: &Arc<dyn Disk>,
    clock: i64,
    parts: &[Part],
    root: usize,
) -> Result<Namespace> {
    let mut namespace = Namespace::new(open(disk, clock, &parts[root])?);
    let mut others: Vec<(&Path, &Part)> = parts
        .iter()
        .filter_map(|part| Some((part.mount_point.as_deref()?, part)))
        .filter(|(point, _)| *point != Path::new("/"))
        .collect();
    others.sort_by_key(|(point, _)| point.components().count());
    for (point, part) in others {
        namespace.mount(point, open(disk, clock, part)?)?;
    }
    Ok(namespace)
}

/// Why something cannot be mounted on `point`; `None` when it can.
fn obstacle(namespace: &Namespace, kind: Kind, point: &Path) -> Result<Option<String>> {
    if !is_readable(kind) {
        return Ok(Some(format!("{} is not supported", kind.name())));
    }
    let Some(point) = namespace.resolve(point)? else {
        return Ok(Some("the directory does not exist".into()));
    };
    let is_directory =
        namespace.metadata(&point)?.is_some_and(|it| it.file_type == FileType::Directory);
    Ok((!is_directory).then(|| "it is not a directory".into()))
}

/// The root file system: by type, by label, by content.
fn find_root(disk: &Arc<dyn Disk>, clock: i64, parts: &[Part]) -> Result<(usize, Namespace)> {
    let typed =
        parts.iter().position(|part| part.partition.as_ref().is_some_and(|it| it.kind.is_root()));
    let only = (parts.len() == 1).then_some(0);
    let index = match typed.or(only) {
        Some(index) => index,
        None => search_root(disk, clock, parts)?.ok_or_else(|| no_root(parts))?,
    };
    let root = open(disk, clock, &parts[index]).map_err(|error| by_number(error, parts, index))?;
    Ok((index, Namespace::new(root)))
}

/// The part with the root's label, or else with what every root has in it.
fn search_root(disk: &Arc<dyn Disk>, clock: i64, parts: &[Part]) -> Result<Option<usize>> {
    let mut by_content = None;
    for (index, part) in parts.iter().enumerate().filter(|(_, part)| part.kind == Kind::Ext4) {
        let Ok(volume) = look_at(disk, clock, part) else { continue };
        if volume.label().as_deref() == Some(ROOT_LABEL) {
            return Ok(Some(index));
        }
        let namespace = Namespace::new(volume);
        let has = |path: &str| namespace.resolve(Path::new(path)).map(|found| found.is_some());
        if by_content.is_none() && has(OS_RELEASE)? && has("/etc/fstab")? {
            by_content = Some(index);
        }
    }
    Ok(by_content)
}

fn no_root(parts: &[Part]) -> Error {
    let found: Vec<String> =
        parts.iter().map(|part| format!("{} holds {}", part.name(), part.kind.name())).collect();
    let error = Error::input(format!("no root file system was found: {}", found.join(", ")))
        .hint("nodeforge edits images whose root file system is ext4, on a partition of its own");
    by_number(error, parts, usize::MAX)
}

/// Says how the files of a partition are reached, if there is one besides that at `index` that has any.
fn by_number(error: Error, parts: &[Part], index: usize) -> Error {
    let readable = parts.iter().enumerate().filter(|(_, part)| is_readable(part.kind));
    let mut others = readable.filter(|(at, _)| *at != index).filter_map(|(_, part)| part.number());
    match others.next() {
        Some(number) => {
            error.hint(format!("`IMAGE@{number}:/PATH` reaches the files of partition {number}"))
        }
        None => error,
    }
}

fn is_readable(kind: Kind) -> bool {
    matches!(kind, Kind::Ext4 | Kind::Fat)
}

/// Opens the file system of a part.
fn open(disk: &Arc<dyn Disk>, clock: i64, part: &Part) -> Result<Box<dyn Volume>> {
    fs::open(part.disk(disk)?, clock).context(|| {
        let at = part.range.start;
        format!("opening the file system of {} (at byte {at})", part.name())
    })
}

/// Opens it for reading only: nothing is written, whatever state it is in.
fn look_at(disk: &Arc<dyn Disk>, clock: i64, part: &Part) -> Result<Box<dyn Volume>> {
    fs::open(Arc::new(ReadOnly(part.disk(disk)?)), clock)
}

/// What an fstab may call each part.
fn identify(disk: &Arc<dyn Disk>, clock: i64, parts: &[Part]) -> Vec<Identity> {
    parts
        .iter()
        .map(|part| {
            let mut identity = Identity { number: part.number(), ..Identity::default() };
            if let Some(partition) = &part.partition {
                identity.partition_id = Some(partition.id.clone());
                identity.partition_name =
                    Some(partition.name.clone()).filter(|name| !name.is_empty());
            }
            // One that cannot be opened has no name to be asked; it is missed if it is mounted.
            if let Ok(volume) = look_at(disk, clock, part) {
                identity.uuid = volume.uuid();
                identity.label = volume.label();
            }
            identity
        })
        .collect()
}
