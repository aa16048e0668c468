//! systemd's units: whether they start at boot, and enabling, disabling and masking them as
//! `systemctl --root` does, from their own `[Install]`.
//!
//! Source: systemd.unit(5), "[INSTALL] SECTION OPTIONS" and "UNIT FILE LOAD PATH"; `systemctl(1)`,
//! "is-enabled".

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::files::{self, names_in, read_lossy};
use crate::change::UnitState;
use crate::fs::{FileType, Tree};
use crate::util::error::{Error, Result};

/// Where the administrator's units and links are.
const ETC: &str = "/etc/systemd/system";
/// Where units are looked for; the first that has one wins.
const PATHS: [&str; 4] =
    [ETC, "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
/// The folders of links that start units, beside the unit that they start with.
const LINKS: [&str; 3] = [".wants", ".requires", ".upholds"];

/// What `systemctl is-enabled` says of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitFileState {
    /// Something at boot wants it.
    Enabled,
    /// It could be enabled.
    Disabled,
    /// It says nothing about being enabled.
    Static,
    /// Nothing can start it.
    Masked,
    /// It is another name of a unit.
    Alias,
    /// It is the administrator's link to a unit elsewhere, and not enabled.
    Linked,
    /// It names others that are enabled together with it, but nothing that starts itself.
    Indirect,
}

impl fmt::Display for UnitFileState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Static => "static",
            Self::Masked => "masked",
            Self::Alias => "alias",
            Self::Linked => "linked",
            Self::Indirect => "indirect",
        })
    }
}

/// Every unit by its name, instances of templates by theirs.
pub fn units(tree: &dyn Tree) -> Result<BTreeMap<String, UnitFileState>> {
    let etc = names_in(tree, ETC)?;
    let mut started = BTreeSet::new();
    for folder in etc.iter().filter(|name| LINKS.iter().any(|ending| name.ends_with(ending))) {
        let names = names_in(tree, &format!("{ETC}/{folder}"))?;
        started.extend(names.into_iter().filter(|name| is_unit(name)));
    }
    let mut names: BTreeSet<String> = started.clone();
    for folder in PATHS {
        names.extend(names_in(tree, folder)?.into_iter().filter(|name| is_unit(name)));
    }
    let mut units = BTreeMap::new();
    for name in names {
        if let Some(state) = state_of(tree, &name, &started)? {
            units.insert(name, state);
        }
    }
    Ok(units)
}

/// Whether the image has a unit, masked or not.
pub(crate) fn exists(tree: &dyn Tree, unit: &str) -> Result<bool> {
    Ok(find(tree, unit)?.is_some())
}

/// Brings a unit into a state.
pub(crate) fn set(tree: &mut dyn Tree, unit: &str, state: UnitState) -> Result<()> {
    match state {
        UnitState::Enabled => enable(tree, unit, &mut Vec::new()),
        UnitState::Disabled => disable(tree, unit),
        UnitState::Masked => {
            let link = Path::new(ETC).join(unit);
            files::symlink(tree, &link, Path::new("/dev/null"))
        }
    }
}

fn is_unit(name: &str) -> bool {
    const TYPES: [&str; 9] =
        ["service", "socket", "timer", "target", "mount", "automount", "path", "swap", "slice"];
    name.rsplit_once('.').is_some_and(|(_, ending)| TYPES.contains(&ending))
}

/// What becomes of a unit, when the links named `started` are there.
fn state_of(
    tree: &dyn Tree,
    unit: &str,
    started: &BTreeSet<String>,
) -> Result<Option<UnitFileState>> {
    let first = PATHS.iter().map(|folder| Path::new(folder).join(unit));
    let mut first_found = None;
    for path in first {
        if tree.metadata(&path)?.is_some() {
            first_found = Some(path);
            break;
        }
    }
    if let Some(path) = &first_found
        && is_mask(tree, path)?
    {
        return Ok(Some(UnitFileState::Masked));
    }
    let link = match &first_found {
        Some(path) if is_link(tree, path)? => Some(tree.read_link(path)?),
        Some(_) | None => None,
    };
    if link.as_ref().is_some_and(|target| target.file_name() != Some(unit.as_ref())) {
        return Ok(Some(UnitFileState::Alias));
    }
    let file = find(tree, unit)?;
    let install = match &file {
        Some(path) => {
            Install::parse(&read_lossy(tree, &path.to_string_lossy())?.unwrap_or_default())
        }
        None => Install::default(),
    };
    let instance = instance_name(unit, install.default_instance.as_deref());
    let is_alias = |alias: &String| -> Result<bool> {
        let path = Path::new(ETC).join(alias);
        Ok(is_link(tree, &path)? && tree.read_link(&path)?.file_name() == Some(unit.as_ref()))
    };
    let mut is_enabled = started.contains(unit) || started.contains(&instance);
    for alias in &install.alias {
        is_enabled = is_enabled || is_alias(alias)?;
    }
    Ok(Some(if is_enabled {
        UnitFileState::Enabled
    } else if file.is_none() && link.is_none() {
        return Ok(None);
    } else if link.is_some() && first_found.is_some_and(|path| path.starts_with(ETC)) {
        UnitFileState::Linked
    } else if install.has_rules() {
        UnitFileState::Disabled
    } else if !install.also.is_empty() {
        UnitFileState::Indirect
    } else {
        UnitFileState::Static
    }))
}

/// Makes the links of `unit` and of those its `Also=` names; `done` ends circles of them.
fn enable(tree: &mut dyn Tree, unit: &str, done: &mut Vec<String>) -> Result<()> {
    if done.iter().any(|it| it == unit) {
        return Ok(());
    }
    done.push(unit.to_owned());
    let Some(file) = find(tree, unit)? else {
        return Err(Error::input(format!("the image has no unit `{unit}`"))
            .hint("is the package that brings it in the profile's `packages.install`?"));
    };
    // Enabling takes the mask off.
    if is_mask(tree, &file)? {
        tree.remove(&file)?;
        done.pop();
        return enable(tree, unit, done);
    }
    let install = Install::parse(&read_lossy(tree, &file.to_string_lossy())?.unwrap_or_default());
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
        // As systemctl does: a unit that `Also=` names and that is not installed is passed over.
        if find(tree, also)?.is_some() {
            enable(tree, also, done)?;
        }
    }
    Ok(())
}

/// Removes every link to `unit` below `/etc/systemd/system`, whatever made it.
fn disable(tree: &mut dyn Tree, unit: &str) -> Result<()> {
    let etc = Path::new(ETC);
    if tree.metadata(etc)?.is_none() {
        return Ok(());
    }
    for entry in tree.read_dir(etc)? {
        let path = etc.join(&entry.name);
        if entry.file_type == FileType::Directory {
            tree.remove(&path.join(unit))?;
        } else if entry.file_type == FileType::Symlink
            && tree.read_link(&path)?.file_name().is_some_and(|name| name == unit)
        {
            tree.remove(&path)?;
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
            // In /etc a link is an alias or a mask, never where an [Install] section is read
            // from; the unit it stands for is found further down the list.
            if tree.metadata(&path)?.is_some()
                && (directory != ETC || !is_link(tree, &path)? || is_mask(tree, &path)?)
            {
                return follow(tree, path).map(Some);
            }
        }
    }
    Ok(None)
}

/// One level of link: `/usr/lib/systemd/system/sshd.service → ssh.service`.
fn follow(tree: &dyn Tree, path: PathBuf) -> Result<PathBuf> {
    if !is_link(tree, &path)? || is_mask(tree, &path)? {
        return Ok(path);
    }
    let target = tree.read_link(&path)?;
    Ok(path.parent().unwrap_or(Path::new("/")).join(target))
}

fn is_link(tree: &dyn Tree, path: &Path) -> Result<bool> {
    Ok(tree.metadata(path)?.is_some_and(|it| it.file_type == FileType::Symlink))
}

/// A link to `/dev/null` and an empty file mask a unit.
fn is_mask(tree: &dyn Tree, path: &Path) -> Result<bool> {
    if is_link(tree, path)? {
        return Ok(tree.read_link(path)? == Path::new("/dev/null"));
    }
    Ok(tree.metadata(path)?.is_some_and(|it| it.file_type == FileType::File && it.size == 0))
}

/// `getty@.service` is enabled as its `DefaultInstance=`: `getty@tty1.service`.
fn instance_name(unit: &str, default: Option<&str>) -> String {
    match (unit.split_once("@."), default) {
        (Some((prefix, suffix)), Some(instance)) => format!("{prefix}@{instance}.{suffix}"),
        (Some(_), None) | (None, _) => unit.to_owned(),
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
            // These become file names: one with a `/` is not taken.
            list.extend(
                value.split_whitespace().filter(|name| !name.contains('/')).map(str::to_owned),
            );
        }
        install
    }

    /// Whether enabling makes links.
    fn has_rules(&self) -> bool {
        [&self.wanted_by, &self.required_by, &self.upheld_by, &self.alias]
            .iter()
            .any(|list| !list.is_empty())
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

    /// Both readings of one tree, and both ways of making its links, against systemctl's own.
    #[cfg(target_os = "linux")]
    #[test]
    fn states_and_links_are_those_of_systemctl() -> Result<()> {
        use std::os::unix::fs::symlink;
        use std::sync::Arc;

        use crate::disk::Raw;
        use crate::fs::testing::{CLOCK, ext4_image};
        use crate::fs::{self as trees, Namespace};
        use crate::util::process::Tool;

        const UNITS: [(&str, &str); 9] = [
            ("one.service", "WantedBy=multi-user.target\nAlias=uno.service\nAlso=one.socket"),
            ("one.socket", "WantedBy=sockets.target"),
            ("two.service", "RequiredBy=multi-user.target"),
            ("off.service", "WantedBy=multi-user.target"),
            ("only-also.service", "Also=one.socket"),
            ("tty@.service", "WantedBy=getty.target\nDefaultInstance=tty1"),
            ("named.service", "Alias=other.service"),
            ("never.service", "WantedBy=multi-user.target"),
            ("static.service", ""),
        ];
        const CHANGES: [(&str, UnitState); 7] = [
            ("one.service", UnitState::Enabled),
            ("two.service", UnitState::Enabled),
            ("tty@.service", UnitState::Enabled),
            ("named.service", UnitState::Enabled),
            ("off.service", UnitState::Enabled),
            ("off.service", UnitState::Disabled),
            ("never.service", UnitState::Masked),
        ];
        let (ours, theirs) = (tempfile::tempdir()?, tempfile::tempdir()?);
        for folder in [&ours, &theirs] {
            let vendor = folder.path().join("tree/usr/lib/systemd/system");
            std::fs::create_dir_all(&vendor)?;
            std::fs::create_dir_all(folder.path().join("tree/etc/systemd/system"))?;
            for (name, install) in UNITS {
                let text = format!("[Service]\nExecStart=/bin/true\n[Install]\n{install}\n");
                std::fs::write(vendor.join(name), text)?;
            }
            symlink("two.service", vendor.join("zwei.service"))?;
            std::fs::write(folder.path().join("tree/etc/systemd/system/empty.service"), "")?;
        }
        let root = theirs.path().join("tree");
        let systemctl = |verb: &str, unit: &str| {
            let root = format!("--root={}", root.display());
            Tool::new("systemctl", "systemd").args([root.as_str(), verb, unit]).run_for_code()
        };
        let open = |folder: &Path| -> Result<Namespace> {
            let disk = Arc::new(Raw::open_writable(&ext4_image(folder, &[]))?);
            Ok(Namespace::new(trees::open(disk, CLOCK)?))
        };
        let mut tree = open(ours.path())?;
        for (name, state) in CHANGES {
            set(&mut tree, name, state)?;
            let verb = match state {
                UnitState::Enabled => "enable",
                UnitState::Disabled => "disable",
                UnitState::Masked => "mask",
            };
            assert_eq!(systemctl(verb, name)?.1, Some(0), "{verb} {name}");
        }
        // The same links with the same names.
        let expected = open(theirs.path())?;
        let links = |tree: &Namespace| -> Result<Vec<String>> {
            let mut all = names_in(tree, ETC)?;
            for folder in all.clone() {
                let names = names_in(tree, &format!("{ETC}/{folder}"))?;
                all.extend(names.into_iter().map(|name| format!("{folder}/{name}")));
            }
            Ok(all)
        };
        assert_eq!(links(&tree)?, links(&expected)?);
        // And of both the same is said.
        let found = units(&tree)?;
        assert_eq!(found, units(&expected)?);
        for (name, state) in &found {
            let (said, _) = systemctl("is-enabled", name)?;
            assert_eq!(said.stdout.trim(), state.to_string(), "{name}");
        }
        assert_eq!(found.len(), 14, "{found:?}");
        Ok(())
    }
}
