//! Host name, machine id and time zone.

use std::fmt::Write as _;
use std::path::Path;

use ipnet::IpNet;

use super::{missing, read_text};
use crate::apply::files;
use crate::change::Owner;
use crate::fs::Tree;
use crate::util::error::Result;

/// Writes `/etc/hostname`, and `/etc/hosts` so that the machine knows its own name, and those
/// of its peers, before any DNS does.
pub(super) fn set_hostname(
    tree: &mut dyn Tree,
    name: &str,
    domain: Option<&str>,
    hosts: &[(IpNet, String)],
) -> Result<()> {
    let root = Owner::root();
    files::write(tree, Path::new("/etc/hostname"), format!("{name}\n").as_bytes(), 0o644, &root)?;

    let names = |name: &str| match domain {
        // A long name is one already.
        Some(domain) if !name.contains('.') => format!("{name}.{domain} {name}"),
        _ => name.to_owned(),
    };
    let mut text = String::new();
    for line in read_text(tree, "/etc/hosts")?.lines() {
        // The publisher's or an earlier name of this machine.
        if line.split_whitespace().next() != Some("127.0.1.1") {
            text.push_str(line);
            text.push('\n');
        }
    }
    if text.is_empty() {
        text.push_str("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    }
    writeln!(text, "127.0.1.1 {}", names(name)).expect("writing to a string");
    for (address, peer) in hosts {
        writeln!(text, "{} {}", address.addr(), names(peer)).expect("writing to a string");
    }
    files::write(tree, Path::new("/etc/hosts"), text.as_bytes(), 0o644, &root)
}

/// Writes `/etc/machine-id`. `uninitialized` makes the next boot a first boot (machine-id(5)).
pub(super) fn set_machine_id(tree: &mut dyn Tree, id: &str) -> Result<()> {
    let text = format!("{id}\n");
    files::write(tree, Path::new("/etc/machine-id"), text.as_bytes(), 0o444, &Owner::root())?;
    let dbus = Path::new("/var/lib/dbus");
    if tree.metadata(dbus)?.is_some() {
        tree.symlink(&dbus.join("machine-id"), Path::new("/etc/machine-id"))?;
    }
    Ok(())
}

/// Links `/etc/localtime`; the zone must be one the base knows, when it has any.
pub(super) fn set_timezone(tree: &mut dyn Tree, name: &str) -> Result<()> {
    let zones = Path::new("/usr/share/zoneinfo");
    if tree.metadata(zones)?.is_some() && tree.metadata(&zones.join(name))?.is_none() {
        return Err(missing(format!("the base knows no time zone `{name}`"))
            .hint("names are those of tzselect(8): `Europe/Berlin`"));
    }
    let target = format!("../usr/share/zoneinfo/{name}");
    tree.symlink(Path::new("/etc/localtime"), Path::new(&target))?;
    let text = format!("{name}\n");
    files::write(tree, Path::new("/etc/timezone"), text.as_bytes(), 0o644, &Owner::root())
}
