//! Enabling, disabling and masking units as `systemctl --root` does, from their own `[Install]`.
//!
//! Source: systemd.unit(5), "[INSTALL] SECTION OPTIONS" and "UNIT FILE LOAD PATH".

use std::path::{Path, PathBuf};

use super::{missing, read_text};
use crate::apply::files;
use crate::change::UnitState;
use crate::fs::{FileType, Tree};
use crate::util::error::Result;

/// Where the administrator's units and links are.
const ETC: &str = "/etc/systemd/system";
/// Where units are looked for, the first that has one wins.
const PATHS: [&str; 3] = [ETC, "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"];

/// Brings a unit into a state.
pub(super) fn set(tree: &mut dyn Tree, unit: &str, state: UnitState) -> Result<()> {
    match state {
        UnitState::Enabled => enable(tree, unit, &mut Vec::new()),
        UnitState::Disabled => disable(tree, unit),
        UnitState::Masked => {
            let link = Path::new(ETC).join(unit);
            files::symlink(tree, &link, Path::new("/dev/null"))
        }
    }
}

/// Whether the image has a unit, masked or not.
pub(crate) fn exists(tree: &dyn Tree, unit: &str) -> Result<bool> {
    Ok(find(tree, unit)?.is_some())
}

/// Makes the links of `unit` and of those its `Also=` names; `done` ends circles of them.
fn enable(tree: &mut dyn Tree, unit: &str, done: &mut Vec<String>) -> Result<()> {
    if done.iter().any(|it| it == unit) {
        return Ok(());
    }
    done.push(unit.to_owned());
    let Some(file) = find(tree, unit)? else {
        return Err(missing(format!("the image has no unit `{unit}`"))
            .hint("is the package that brings it in the profile's `packages.install`?"));
    };
    // A link to /dev/null masks it; enabling takes the mask off.
    if is_mask(tree, &file)? {
        tree.remove(&file)?;
        done.pop();
        return enable(tree, unit, done);
    }
    let install = Install::parse(&read_text(tree, &file.to_string_lossy())?);
    let instance = instance_name(unit, install.default_instance.as_deref());
    for (targets, folder) in [
        (&install.wanted_by, "wants"),
        (&install.required_by, "requires"),
        (&install.upheld_by, "upholds"),
    ] {
        for target in targets {
            let link = Path::new(ETC).join(format!("{target}.{folder}")).join(&instance);
            files::symlink(tree, &link, &file)?;
        }
    }
    for alias in &install.alias {
        files::symlink(tree, &Path::new(ETC).join(alias), &file)?;
    }
    for also in &install.also {
        // As systemctl does: what `Also=` names and nobody installed is passed over.
        if find(tree, also)?.is_some() {
            enable(tree, also, done)?;
        }
    }
    Ok(())
}

/// Removes every link to `unit` below `/etc/systemd/system`, whoever made it.
fn disable(tree: &mut dyn Tree, unit: &str) -> Result<()> {
    let etc = Path::new(ETC);
    if tree.metadata(etc)?.is_none() {
        return Ok(());
    }
    for entry in tree.read_dir(etc)? {
        let path = etc.join(&entry.name);
        match entry.file_type {
            FileType::Directory => tree.remove(&path.join(unit))?,
            FileType::Symlink => {
                let target = tree.read_link(&path)?;
                if target.file_name().is_some_and(|name| name == unit) {
                    tree.remove(&path)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The unit's file, or its template's.
fn find(tree: &dyn Tree, unit: &str) -> Result<Option<PathBuf>> {
    let mut names = vec![unit.to_owned()];
    if let Some((prefix, rest)) = unit.split_once('@')
        && let Some((_, suffix)) = rest.rsplit_once('.')
    {
        names.push(format!("{prefix}@.{suffix}"));
    }
    for name in names {
        for directory in PATHS {
            let path = Path::new(directory).join(&name);
            if let Some(metadata) = tree.metadata(&path)? {
                // In /etc a link is an alias or a mask, never where an [Install] section is read
                // from; the unit it stands for is found further down the list.
                if metadata.file_type != FileType::Symlink
                    || directory != ETC
                    || is_mask(tree, &path)?
                {
                    return follow(tree, path).map(Some);
                }
            }
        }
    }
    Ok(None)
}

/// One level of link: `/usr/lib/systemd/system/sshd.service → ssh.service`.
fn follow(tree: &dyn Tree, path: PathBuf) -> Result<PathBuf> {
    let is_link = tree.metadata(&path)?.is_some_and(|it| it.file_type == FileType::Symlink);
    if !is_link || is_mask(tree, &path)? {
        return Ok(path);
    }
    let target = tree.read_link(&path)?;
    Ok(path.parent().unwrap_or(Path::new("/")).join(target))
}

fn is_mask(tree: &dyn Tree, path: &Path) -> Result<bool> {
    let is_link = tree.metadata(path)?.is_some_and(|it| it.file_type == FileType::Symlink);
    Ok(is_link && tree.read_link(path)? == Path::new("/dev/null"))
}

/// `getty@.service` is enabled as its `DefaultInstance=`: `getty@tty1.service`.
fn instance_name(unit: &str, default: Option<&str>) -> String {
    match (unit.split_once("@."), default) {
        (Some((prefix, suffix)), Some(instance)) => format!("{prefix}@{instance}.{suffix}"),
        _ => unit.to_owned(),
    }
}

#[derive(Debug, Default, PartialEq)]
struct Install {
    wanted_by: Vec<String>,
    required_by: Vec<String>,
    upheld_by: Vec<String>,
    alias: Vec<String>,
    also: Vec<String>,
    default_instance: Option<String>,
}

impl Install {
    fn parse(text: &str) -> Self {
        let mut install = Self::default();
        let mut inside = false;
        let text = text.replace("\\\n", " ");
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                inside = line == "[Install]";
                continue;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| inside) else { continue };
            let list = match key.trim() {
                "WantedBy" => &mut install.wanted_by,
                "RequiredBy" => &mut install.required_by,
                "UpheldBy" => &mut install.upheld_by,
                "Alias" => &mut install.alias,
                "Also" => &mut install.also,
                "DefaultInstance" => {
                    install.default_instance = Some(value.trim().to_owned());
                    continue;
                }
                _ => continue,
            };
            // An empty assignment takes back what stood before.
            if value.trim().is_empty() {
                list.clear();
            }
            // These become file names: one that is none of a unit is not taken.
            list.extend(
                value.split_whitespace().filter(|name| !name.contains('/')).map(str::to_owned),
            );
        }
        install
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn install_sections_are_read_as_systemd_reads_them() {
        let text = "[Unit]\nAlso=no.service\n[Install]\nWantedBy=a.target b.target\n\
                    RequiredBy=c.target\nRequiredBy=\nAlias=d.service\\\n e.service\n\
                    Also=f.socket ../../evil\nDefaultInstance=tty1\n";
        let expected = Install {
            wanted_by: vec!["a.target".into(), "b.target".into()],
            alias: vec!["d.service".into(), "e.service".into()],
            also: vec!["f.socket".into()],
            default_instance: Some("tty1".into()),
            ..Install::default()
        };
        assert_eq!(Install::parse(text), expected);
    }

    #[test]
    fn a_template_is_enabled_as_its_default_instance() {
        assert_eq!(instance_name("getty@.service", Some("tty1")), "getty@tty1.service");
        assert_eq!(instance_name("getty@tty2.service", Some("tty1")), "getty@tty2.service");
        assert_eq!(instance_name("ssh.service", None), "ssh.service");
    }
}
