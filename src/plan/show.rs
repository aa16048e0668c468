//! Changes for people and for programs. Bytes made from secrets are in neither.

use serde_json::{Value, json};

use super::side_file::SideFile;
use crate::change::{Action, Change, Checksum, Content, Owner, PackageState, Requester, UnitState};

/// One line, with who asked for it: `enable ssh.service (profile quickstart)`.
pub fn describe(change: &Change) -> String {
    let action = match &change.action {
        Action::Grow { size } => format!("grow the disk to {} MiB", size >> 20),
        Action::AptSource { name, key_url, fingerprint, .. } => {
            let trust = match fingerprint {
                Some(fingerprint) => format!("with the key {fingerprint}"),
                None => format!("with the key at {key_url}, trusted at first use"),
            };
            format!("add the apt source {name} {trust}")
        }
        Action::Package { name, state } => format!("{} {name}", package_verb(*state)),
        Action::Download { url, path, mode, arch, .. } => {
            let arch = arch.map(|arch| format!(" for {}", arch.name())).unwrap_or_default();
            format!("download {path}{arch}, mode {mode:04o}, from {url}")
        }
        Action::Images(archive) => {
            let more = archive.charts.len() + archive.lists.len();
            let more =
                if more == 0 { String::new() } else { format!(", and of {more} charts and lists") };
            let tagged = archive.tags.iter().map(|it| it.image.as_str());
            let images = archive.images.iter().map(|it| it.image.as_str()).chain(tagged);
            let images: Vec<&str> = images.collect();
            format!("pack the container images {}{more} into {}", images.join(", "), archive.path)
        }
        Action::File { path, content, mode, owner } => {
            format!("write {path}, mode {mode:04o}{}, {}", owned_by(owner), weigh(content))
        }
        Action::Directory { path, mode, owner } => {
            format!("make the folder {path}, mode {mode:04o}{}", owned_by(owner))
        }
        Action::Symlink { path, target } => format!("link {path} to {target}"),
        Action::Remove { path } => format!("remove {path}"),
        Action::Unit { name, state } => format!("{} {name}", unit_verb(*state)),
        Action::User(user) => {
            let keys = user.ssh_authorized_keys.len();
            let plural = if keys == 1 { "" } else { "s" };
            let sudo = if user.passwordless_sudo { ", sudo without password" } else { "" };
            let password = if user.password_hash.is_some() { "password" } else { "no password" };
            format!("set up the user {}, {keys} SSH key{plural}, {password}{sudo}", user.name)
        }
        Action::KernelArgument { argument } => format!("add the kernel argument {argument}"),
        Action::KernelArgumentRemoved { argument } => {
            format!("remove the kernel argument {argument}")
        }
        Action::ConfigTxt { line } => format!("add {line} to config.txt"),
        Action::Hostname { name, domain, hosts } => {
            let domain = domain.as_ref().map(|domain| format!(".{domain}")).unwrap_or_default();
            let peers =
                if hosts.is_empty() { String::new() } else { format!(", {} hosts", hosts.len()) };
            format!("name the machine {name}{domain}{peers}")
        }
        Action::MachineId { id } => format!("set the machine id {id}"),
        Action::DiskId { id } => format!("set the disk id {id} (on an MBR: its first 8 digits)"),
        Action::Locale { name } => format!("set the locale {name}"),
        Action::Keyboard { layout, variant } => {
            let variant = variant.as_ref().map(|it| format!("({it})")).unwrap_or_default();
            format!("set the keyboard layout {layout}{variant}")
        }
        Action::Timezone { name } => format!("set the time zone {name}"),
    };
    format!("{action}{} ({})", from(&change.sources), change.origin)
}

/// One line for a handout: `write router.conf, mode 0644, 527 bytes`.
pub fn describe_handout(handout: &SideFile) -> String {
    let SideFile { path, content, sources } = handout;
    format!("write {path}, mode {:04o}, {}{}", handout.mode(), weigh(content), from(sources))
}

/// The files of this machine that something is made from.
fn from(sources: &[String]) -> String {
    if sources.is_empty() { String::new() } else { format!(", from {}", sources.join(", ")) }
}

/// A handout for programs.
pub fn handout_to_json(handout: &SideFile) -> Value {
    let SideFile { path, content, sources } = handout;
    let mut object = json!({
        "path": path, "mode": octal(handout.mode()), "secrets": content.secrets,
        "sources": sources,
    });
    add_content(&mut object, content);
    object
}

/// The same for programs: an object with `action`, `origin`, and what the action has.
pub fn to_json(change: &Change) -> Value {
    let (name, mut object) = match &change.action {
        Action::Grow { size } => ("grow", json!({ "size": size })),
        Action::AptSource { name, text, key_url, fingerprint } => (
            "apt-source",
            json!({ "name": name, "text": text, "key_url": key_url, "fingerprint": fingerprint }),
        ),
        Action::Package { name, state } => {
            ("package", json!({ "name": name, "state": package_state(*state) }))
        }
        Action::Download { url, checksum, arch, path, mode } => {
            let mut object = json!({ "url": url, "path": path, "mode": octal(*mode) });
            if let Some(arch) = arch {
                object["arch"] = json!(arch);
            }
            match checksum {
                Checksum::Sha256(hash) => object["sha256"] = json!(hash),
                Checksum::Sha256Url(url) => object["sha256_url"] = json!(url),
                Checksum::FirstUse => object["sha256"] = Value::Null,
            }
            ("download", object)
        }
        Action::Images(archive) => {
            let images: Vec<&str> = archive.images.iter().map(|it| it.image.as_str()).collect();
            let charts: Vec<&str> = archive.charts.iter().map(|it| it.path.as_str()).collect();
            let tags: Vec<&str> = archive.tags.iter().map(|it| it.image.as_str()).collect();
            let mut lists: Vec<&str> = archive.lists.iter().map(String::as_str).collect();
            for url in archive.tags.iter().map(|it| it.url.as_str()) {
                if !lists.contains(&url) {
                    lists.push(url);
                }
            }
            let object = json!({
                "path": archive.path, "images": images, "charts": charts, "lists": lists, "tags": tags,
                "mirror": archive.mirror,
            });
            ("images", object)
        }
        Action::File { path, content, mode, owner } => {
            let mut object = json!({
                "path": path, "mode": octal(*mode), "owner": owner.user, "group": owner.group,
                "secrets": content.secrets,
            });
            add_content(&mut object, content);
            ("file", object)
        }
        Action::Directory { path, mode, owner } => (
            "directory",
            json!({ "path": path, "mode": octal(*mode), "owner": owner.user, "group": owner.group }),
        ),
        Action::Symlink { path, target } => ("symlink", json!({ "path": path, "target": target })),
        Action::Remove { path } => ("remove", json!({ "path": path })),
        Action::Unit { name, state } => {
            ("unit", json!({ "name": name, "state": unit_state(*state) }))
        }
        Action::User(user) => (
            "user",
            json!({
                "name": user.name, "ssh_authorized_keys": user.ssh_authorized_keys,
                "has_password": user.password_hash.is_some(),
                "passwordless_sudo": user.passwordless_sudo,
            }),
        ),
        Action::KernelArgument { argument } => ("kernel-argument", json!({ "argument": argument })),
        Action::KernelArgumentRemoved { argument } => {
            ("kernel-argument-removed", json!({ "argument": argument }))
        }
        Action::ConfigTxt { line } => ("config-txt", json!({ "line": line })),
        Action::Hostname { name, domain, hosts } => {
            let hosts: Vec<_> = hosts
                .iter()
                .map(|(address, name)| json!({ "address": address.addr(), "name": name }))
                .collect();
            ("hostname", json!({ "name": name, "domain": domain, "hosts": hosts }))
        }
        Action::MachineId { id } => ("machine-id", json!({ "id": id })),
        Action::DiskId { id } => ("disk-id", json!({ "id": id.to_string() })),
        Action::Locale { name } => ("locale", json!({ "name": name })),
        Action::Keyboard { layout, variant } => {
            ("keyboard", json!({ "layout": layout, "variant": variant }))
        }
        Action::Timezone { name } => ("timezone", json!({ "name": name })),
    };
    object["action"] = json!(name);
    object["sources"] = json!(change.sources);
    object["origin"] = match &change.origin {
        Requester::Nodeforge => json!({ "kind": "nodeforge" }),
        Requester::Profile(name) => json!({ "kind": "profile", "name": name }),
        Requester::Overlay(name) => json!({ "kind": "overlay", "name": name }),
        Requester::Role(name) => json!({ "kind": "role", "name": name }),
        Requester::ClusterFile => json!({ "kind": "cluster-file" }),
        Requester::CommandLine => json!({ "kind": "command-line" }),
    };
    object
}

fn add_content(object: &mut Value, content: &Content) {
    if content.secrets.is_empty() {
        object["size"] = json!(content.bytes.len());
    }
    if let Some(bytes) = content.shown() {
        object["content"] = json!(std::str::from_utf8(bytes).ok());
    }
}

fn weigh(content: &Content) -> String {
    match content.secrets.as_slice() {
        [] => format!("{} bytes", content.bytes.len()),
        // Its size would tell something of the secret.
        [name] => format!("from the secret {name}"),
        names => format!("from the secrets {}", names.join(", ")),
    }
}

fn owned_by(owner: &Owner) -> String {
    if *owner == Owner::root() {
        return String::new();
    }
    format!(", owned by {}:{}", owner.user, owner.group)
}

fn octal(mode: u32) -> String {
    format!("{mode:04o}")
}

fn package_verb(state: PackageState) -> &'static str {
    match state {
        PackageState::Installed => "install",
        PackageState::Removed => "remove the package",
        PackageState::Held => "hold",
        PackageState::Upgraded => "upgrade",
    }
}

fn package_state(state: PackageState) -> &'static str {
    match state {
        PackageState::Installed => "installed",
        PackageState::Removed => "removed",
        PackageState::Held => "held",
        PackageState::Upgraded => "upgraded",
    }
}

fn unit_verb(state: UnitState) -> &'static str {
    match state {
        UnitState::Enabled => "enable",
        UnitState::Disabled => "disable",
        UnitState::Masked => "mask",
    }
}

fn unit_state(state: UnitState) -> &'static str {
    match state {
        UnitState::Enabled => "enabled",
        UnitState::Disabled => "disabled",
        UnitState::Masked => "masked",
    }
}
