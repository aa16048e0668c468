//! What a machine is called and knows itself by: `/etc/hostname`, `/etc/hosts`, `/etc/machine-id`.

use std::fmt::Write as _;
use std::path::Path;

use ipnet::IpNet;
use serde::Serialize;

use super::files::{self, read_lossy, read_text, root};
use crate::fs::Tree;
use crate::util::error::Result;

const HOSTNAME: &str = "/etc/hostname";
const HOSTS: &str = "/etc/hosts";
const MACHINE_ID: &str = "/etc/machine-id";
const DBUS: &str = "/var/lib/dbus";

/// The machine's own line in `/etc/hosts`, by Debian's custom.
const OWN_ADDRESS: &str = "127.0.1.1";

/// What makes the next boot a first boot, which makes an id (machine-id(5)).
pub(crate) const UNINITIALIZED: &str = "uninitialized";

/// What is in `/etc/machine-id` (machine-id(5)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineId {
    /// Nothing: the system makes one up at boot.
    Empty,
    /// `uninitialized`: the next boot is a first boot, and makes one.
    Uninitialized,
    /// The file is missing.
    Missing,
    /// An id.
    #[serde(untagged)]
    Set(String),
}

impl MachineId {
    /// Reads an image's.
    pub fn read(tree: &dyn Tree) -> Result<Self> {
        let Some(text) = read_lossy(tree, MACHINE_ID)? else { return Ok(Self::Missing) };
        Ok(match text.trim() {
            "" => Self::Empty,
            UNINITIALIZED => Self::Uninitialized,
            id => Self::Set(id.to_owned()),
        })
    }
}

/// The name in `/etc/hostname`, after comments and empty lines (hostname(5)).
pub fn hostname(tree: &dyn Tree) -> Result<Option<String>> {
    let text = read_lossy(tree, HOSTNAME)?.unwrap_or_default();
    let name = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(name.map(str::to_owned))
}

/// Writes `/etc/hostname`, and `/etc/hosts` so that the machine knows its own name, and those
/// of its peers, before any DNS does.
pub(crate) fn set_hostname(
    tree: &mut dyn Tree,
    name: &str,
    domain: Option<&str>,
    hosts: &[(IpNet, String)],
) -> Result<()> {
    files::write(tree, Path::new(HOSTNAME), format!("{name}\n").as_bytes(), root(0o644))?;

    // Without the publisher's or an earlier name of this machine.
    let mut text = without_own_line(&read_text(tree, HOSTS)?.unwrap_or_default());
    if text.is_empty() {
        text.push_str("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    writeln!(text, "{OWN_ADDRESS} {}", names(name, domain)).expect("writing to a string");
    for (address, peer) in hosts {
        writeln!(text, "{}", hosts_line(*address, peer, domain)).expect("writing to a string");
    }
    files::write(tree, Path::new(HOSTS), text.as_bytes(), root(0o644))
}

/// The line in `/etc/hosts` of a peer.
pub(crate) fn hosts_line(address: IpNet, peer: &str, domain: Option<&str>) -> String {
    format!("{} {}", address.addr(), names(peer, domain))
}

/// A long name is one already.
fn names(name: &str, domain: Option<&str>) -> String {
    match domain {
        Some(domain) if !name.contains('.') => format!("{name}.{domain} {name}"),
        Some(_) | None => name.to_owned(),
    }
}

/// Takes the machine's own name out of `/etc/hostname` and `/etc/hosts`.
pub(super) fn forget_hostname(tree: &mut dyn Tree) -> Result<()> {
    tree.remove(Path::new(HOSTNAME))?;
    let Some(text) = read_text(tree, HOSTS)? else { return Ok(()) };
    let kept = without_own_line(&text);
    if kept == text { Ok(()) } else { tree.write(Path::new(HOSTS), kept.as_bytes(), None) }
}

fn without_own_line(hosts: &str) -> String {
    let is_other = |line: &&str| line.split_whitespace().next() != Some(OWN_ADDRESS);
    hosts.split_inclusive('\n').filter(is_other).collect()
}

/// Writes `/etc/machine-id`, which D-Bus's own is a link to.
pub(crate) fn set_machine_id(tree: &mut dyn Tree, id: &str) -> Result<()> {
    let text = format!("{id}\n");
    files::write(tree, Path::new(MACHINE_ID), text.as_bytes(), root(0o444))?;
    let dbus = Path::new(DBUS);
    if tree.metadata(dbus)?.is_some() {
        tree.symlink(&dbus.join("machine-id"), Path::new(MACHINE_ID))?;
    }
    Ok(())
}
