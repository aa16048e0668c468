//! macOS: disks as `diskutil` lists them.

use std::path::Path;
use std::{fs, io};

use serde::de::DeserializeOwned;

use super::contents::Contents;
use super::device::Device;
use super::diskutil::{Info, List, identifier};
use super::node::DeviceNode;
use crate::flash::diskutil;
use crate::util::error::{Context, Error, Result};
use crate::util::process::Tool;

/// Whole devices that an image could be meant for.
pub fn list() -> Result<Vec<Device>> {
    let list = disks()?;
    list.whole_disks().filter_map(|disk| device(&list, disk).transpose()).collect()
}

/// What a path names, symbolic links followed.
pub fn find(path: &Path) -> Result<DeviceNode> {
    let path = match path.canonicalize() {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(DeviceNode::Missing),
        Err(error) => return Err(error).context(|| format!("opening `{}`", path.display())),
    };
    if fs::metadata(&path)?.is_file() {
        return Ok(DeviceNode::File);
    }
    let Some(name) = identifier(&path) else { return Ok(DeviceNode::Other) };
    let list = disks()?;
    match list.disk_of(name) {
        None => Ok(DeviceNode::Other),
        Some(disk) if disk != name => Ok(DeviceNode::Partition { disk: diskutil::node(disk) }),
        // A container, whose disk is another.
        Some(disk) if !list.whole_disks().any(|it| it == disk) => Ok(DeviceNode::Other),
        Some(disk) => Ok(device(&list, disk)?.map_or(DeviceNode::Missing, DeviceNode::Whole)),
    }
}

/// What a device holds now.
pub fn contents(device: &Device) -> Contents {
    match (identifier(&device.path), disks()) {
        (Some(name), Ok(list)) => list.contents(name),
        _ => Contents::unreadable(),
    }
}

fn device(list: &List, name: &str) -> Result<Option<Device>> {
    let info: Info = diskutil(&["info", "-plist", name])?;
    Ok(list.device(name, info))
}

fn disks() -> Result<List> {
    diskutil(&["list", "-plist"])
}

/// Runs `diskutil`, and `plutil` on the property list it prints.
fn diskutil<T: DeserializeOwned>(arguments: &[&str]) -> Result<T> {
    let run = || {
        let plist = Tool::new("diskutil", "macOS").args(arguments).run()?;
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), plist)?;
        let convert = ["-convert", "json", "-o", "-"];
        let json = Tool::new("plutil", "macOS").args(convert).arg(file.path()).run()?;
        serde_json::from_str(&json).map_err(|error| Error::failure(error.to_string()))
    };
    run().context(|| "asking diskutil for disks")
}
