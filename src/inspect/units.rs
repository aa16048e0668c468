//! What becomes of an image's systemd units at boot.
//!
//! Source: systemd.unit(5), "UNIT FILE LOAD PATH" and "[INSTALL] SECTION OPTIONS".

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::names_in;
use crate::fs::{FileType, Tree};
use crate::util::error::Result;

/// Where the administrator's units and links are.
const ETC: &str = "/etc/systemd/system";
/// Where packages put units.
const VENDOR: [&str; 3] =
    ["/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// What is larger, in bytes, is not a unit.
const UNIT_LIMIT: u64 = 1 << 20;

/// What `systemctl is-enabled` says of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitState {
    /// Something at boot wants it.
    Enabled,
    /// It could be enabled.
    Disabled,
    /// It says nothing about being enabled.
    Static,
    /// Nothing can start it.
    Masked,
}

impl fmt::Display for UnitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Static => "static",
            Self::Masked => "masked",
        })
    }
}

/// Every unit by its name, instances of templates by theirs.
pub fn units(tree: &dyn Tree) -> Result<BTreeMap<String, UnitState>> {
    let mut units = BTreeMap::new();
    // Of two the administrator's comes later here, and wins.
    for folder in VENDOR.iter().rev().chain([&ETC]) {
        for name in names_in(tree, folder)?.into_iter().filter(|name| is_unit(name)) {
            if let Some(state) = state_of(tree, &Path::new(folder).join(&name))? {
                units.insert(name, state);
            }
        }
    }
    for folder in names_in(tree, ETC)? {
        let wants = [".wants", ".requires", ".upholds"];
        if !wants.iter().any(|ending| folder.ends_with(ending)) {
            continue;
        }
        for name in names_in(tree, &format!("{ETC}/{folder}"))?.into_iter().filter(|it| is_unit(it))
        {
            let state = units.entry(name).or_insert(UnitState::Enabled);
            if *state != UnitState::Masked {
                *state = UnitState::Enabled;
            }
        }
    }
    Ok(units)
}

fn is_unit(name: &str) -> bool {
    const TYPES: [&str; 9] =
        ["service", "socket", "timer", "target", "mount", "automount", "path", "swap", "slice"];
    name.rsplit_once('.').is_some_and(|(_, ending)| TYPES.contains(&ending))
}

/// What a file or link in a unit folder says of its unit.
fn state_of(tree: &dyn Tree, path: &Path) -> Result<Option<UnitState>> {
    let Some(metadata) = tree.metadata(path)? else { return Ok(None) };
    if metadata.file_type == FileType::Symlink {
        if tree.read_link(path)? == Path::new("/dev/null") {
            return Ok(Some(UnitState::Masked));
        }
        // In /etc a second name of a unit: systemctl makes it for `Alias=` when enabling.
        let is_alias = path.starts_with(ETC);
        return Ok(Some(if is_alias { UnitState::Enabled } else { UnitState::Static }));
    }
    if metadata.file_type != FileType::File {
        return Ok(None);
    }
    if metadata.size > UNIT_LIMIT {
        return Ok(None);
    }
    let text = tree.read(path, UNIT_LIMIT)?.unwrap_or_default();
    let has_install =
        text.split(|&byte| byte == b'\n').any(|line| line.trim_ascii() == b"[Install]");
    Ok(Some(if has_install { UnitState::Disabled } else { UnitState::Static }))
}
