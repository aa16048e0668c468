//! `profile.toml`, read over the profile it extends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::fields::{extend_checked, is_identifier, owned, read_units};
use super::folder::{Folder, shipped_profiles};
use super::{apt, handout, images, kernel, learn, overlay, role, rule, secret};
use crate::config::profile_types::{HostEntry, KernelSpec, PackageSpec, Packages, Profile, Units};
use crate::config::reader::{Reader, Spanned, Table};
use crate::config::{base, condition, file, setting, suggest};
use crate::util::error::{Error, Result};

/// How deep profiles may extend each other.
const DEEPEST: usize = 8;

/// The profile a file names: shipped, or a path to a folder.
pub(in crate::config) fn load(reader: &Reader, name: &Spanned<&str>) -> Result<Profile> {
    load_named(reader, name, &mut Vec::new())
}

/// The profile of a name or path as the command line has it.
pub fn load_profile(name: &str) -> Result<Profile> {
    let reader = Reader::new(String::new(), String::new(), PathBuf::from("."));
    load(&reader, &Spanned::new(name, 0..0))
}

fn load_named(
    reader: &Reader,
    written: &Spanned<&str>,
    chain: &mut Vec<PathBuf>,
) -> Result<Profile> {
    let name = written.value;
    let is_path = name.contains('/') || name.starts_with(['.', '~']);
    let folder = if is_path {
        Folder::Disk(if reader.is_confined() {
            beside(reader, written)?
        } else {
            reader.resolve(written)?
        })
    } else {
        Folder::shipped_profile(name).ok_or_else(|| unknown(reader, name))?
    };
    let shown = folder.shown("profile.toml");
    let identity = folder.identity();
    if chain.contains(&identity) {
        return Err(Error::input(format!(
            "the profile `{name}` extends itself, directly or through others"
        )));
    }
    if chain.len() == DEEPEST {
        return Err(Error::input(format!("more than {DEEPEST} profiles extend each other")));
    }
    chain.push(identity);
    let Some(bytes) = folder.read("profile.toml", file::MOST_TOML)? else {
        return Err(Error::input(format!("there is no `{shown}`"))
            .hint("a profile is a folder with a `profile.toml`"));
    };
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::input(format!("`{shown}` is not UTF-8 text")))?;
    let text = file::with_unix_ends(&text);
    let name = name.trim_end_matches('/').rsplit('/').next().unwrap_or(name);
    let reader = Reader::confined(shown, text, folder.directory());
    let entries = reader.parse()?;
    let profile = read(Table::root(&reader, &entries), &folder, name, chain);
    reader.finish()?;
    profile.ok_or_else(|| Error::input(format!("the profile `{name}` cannot be read")))
}

/// The folder of a profile that another one extends: below that one's folder, or beside it.
fn beside(reader: &Reader, written: &Spanned<&str>) -> Result<PathBuf> {
    let path = Path::new(written.value);
    let own = &reader.directory;
    let around = own.canonicalize().unwrap_or_else(|_| own.clone());
    let around = around.parent().unwrap_or(&around);
    let folder = file::resolve(own, path);
    if path.is_absolute() || path.starts_with("~") || file::stays_below(around, &folder).is_err() {
        return Err(Error::input(format!("`{}` is not a profile beside this one", written.value))
            .hint(
                "a profile extends a shipped one, or one in a folder beside its own: `../other`",
            ));
    }
    Ok(folder)
}

fn unknown(reader: &Reader, name: &str) -> Error {
    let error = Error::input(format!("there is no profile `{name}`"));
    if reader.directory.join(name).join("profile.toml").is_file() {
        return error.hint(format!("a folder is named by its path: `./{name}`"));
    }
    let shipped = shipped_profiles();
    error.hint(suggest::closest(name, shipped.iter().copied()).unwrap_or_else(|| {
        format!("`nodeforge profile list` shows those there are; a folder is named by its path: `./{name}`")
    }))
}

/// Reads over the profile it extends: lists grow, tables are merged, roles are replaced by name.
fn read(root: Table<'_>, folder: &Folder, name: &str, chain: &mut Vec<PathBuf>) -> Option<Profile> {
    let reader = root.reader;
    let parent = match root.string("extends") {
        Some(parent) => {
            let profile = load_named(reader, &parent, chain);
            Some(reader.accept(&parent.span, profile)?)
        }
        None => None,
    };
    let mut profile = parent.unwrap_or_else(|| empty(name));
    name.clone_into(&mut profile.name);

    if let Some(description) = root.require("description", "description = \"…\"") {
        description.string()?.value.clone_into(&mut profile.description);
    }
    if let Some(value) = root.get("base") {
        profile.base = base::read(&value);
    }
    read_settings(&root, &mut profile);
    if let Some(table) = root.table("packages") {
        read_packages(table, &mut profile.packages);
    }
    for source in root.tables("apt_source").into_iter().filter_map(apt::read) {
        profile.apt_sources.retain(|other| other.name != source.name);
        profile.apt_sources.push(source);
    }
    if let Some(table) = root.table("kernel") {
        kernel::read(table, &mut profile.kernel);
    }
    if let Some(table) = root.table("units") {
        read_units(table, &mut profile.units);
    }
    profile.overlays.extend(overlay::read_all(&root, folder));
    profile.artifacts.extend(root.tables("artifact").into_iter().filter_map(apt::read_artifact));
    if let Some(images) = images::read(&root) {
        profile.images = Some(images);
    }
    for host in root.tables("host").into_iter().filter_map(read_host) {
        profile.hosts.retain(|other| other.name != host.name);
        profile.hosts.push(host);
    }
    rule::read_all(&root, &mut profile);
    role::read_all(&root, folder, &mut profile);
    secret::read_all(&root, &mut profile);
    handout::read_all(&root, folder, &mut profile);
    learn::read_all(&root, folder, &mut profile);
    root.finish();
    Some(profile)
}

fn empty(name: &str) -> Profile {
    Profile {
        name: name.to_owned(),
        description: String::new(),
        base: None,
        settings: BTreeMap::new(),
        packages: Packages::default(),
        apt_sources: Vec::new(),
        kernel: KernelSpec::default(),
        units: Units::default(),
        overlays: Vec::new(),
        artifacts: Vec::new(),
        images: None,
        hosts: Vec::new(),
        rules: Vec::new(),
        secrets: Vec::new(),
        handouts: Vec::new(),
        lessons: Vec::new(),
        roles: Vec::new(),
        firstboot_steps: BTreeMap::new(),
    }
}

fn read_settings(root: &Table<'_>, profile: &mut Profile) {
    let Some(table) = root.table("settings") else { return };
    for (name, value) in table.entries() {
        if !is_identifier(name.value) {
            let message = format!("`{}` is not a valid name of a setting", name.value);
            let hint = "templates write `settings.pod_subnet`: lower case letters, digits and `_`";
            root.reader.wrong_hint(&name.span, message, hint);
        }
        let spec = value.table(&format!("[settings.{}]", name.value)).and_then(setting::read_spec);
        if let Some(spec) = spec {
            profile.settings.insert(name.value.to_owned(), spec);
        }
    }
}

/// `[[host]]`. What the templates make of it shows when they are rendered.
fn read_host(table: Table<'_>) -> Option<HostEntry> {
    let name = table.require("name", "name = \"{{ settings.api_name }}\"");
    let name = name.and_then(|value| value.string());
    let address = table.require("address", "address = \"{{ cluster.first.addresses[0].ip }}\"");
    let address = address.and_then(|value| value.string());
    table.finish();
    Some(HostEntry { name: owned(name)?, address: owned(address)? })
}

fn read_packages(table: Table<'_>, packages: &mut Packages) {
    let hint = "for example `containerd` or `kubelet=1.34.0-1.1`";
    let wanted = table.get("install").and_then(|value| value.elements()).unwrap_or_default();
    for (name, when) in wanted.iter().filter_map(condition::named) {
        let package = PackageSpec { name: name.value.to_owned(), when };
        if !is_package(name.value) {
            let message = format!("`{}` is not a valid package name", name.value);
            table.reader.wrong_hint(&name.span, message, hint);
        } else if !packages.install.contains(&package) {
            packages.install.push(package);
        }
    }
    for (key, list) in [("remove", &mut packages.remove), ("hold", &mut packages.hold)] {
        extend_checked(&table, key, list, is_package, "not a valid package name", hint);
    }
    if let Some(upgrade) = table.get("upgrade").and_then(|value| value.boolean()) {
        packages.upgrade = upgrade;
    }
    table.finish();
}

/// It becomes an argument of apt-get. Source: Debian Policy 5.6.1. A version may end in `*`, and be
/// a template.
fn is_package(name: &str) -> bool {
    let name = match name.split_once("={{") {
        Some((name, rest)) if rest.contains("}}") => name,
        _ => name.trim_end_matches('*'),
    };
    name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b':' | b'=' | b'~')
        })
}
