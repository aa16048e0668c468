//! Publishers' own ways of setting a machine up: nodeforge does their part, and they would undo it.

use std::collections::BTreeSet;
use std::path::Path;

use super::{files, units};
use crate::change::{Action, Change, Content, Owner, Requester, UnitState};
use crate::fs::Tree;
use crate::util::error::Result;

/// Raspberry Pi OS's dialogue about the first user; getty@tty1 is off until it is over.
const WIZARD: &str = "userconfig.service";
/// It says at every login that no user has been set up yet.
const BANNER: &str = "/etc/ssh/sshd_config.d/rename_user.conf";
/// Raspberry Pi OS's first boot before the boot, until Debian 12: as the kernel's `init=` it throws the
/// SSH host keys away, gives the disk another id and starts over.
const FIRST_BOOT: &str = "/usr/lib/raspberrypi-sys-mods/firstboot";
/// The same for the host keys alone, as a unit. nodeforge's own makes those that are missing.
const HOST_KEYS: &str = "regenerate_ssh_host_keys.service";
/// In this order, so that none is wanted when its own is masked.
const NETWORK_MANAGER: [&str; 3] = [
    "NetworkManager-wait-online.service",
    "NetworkManager-dispatcher.service",
    "NetworkManager.service",
];
/// What is in there leaves interfaces to that service, or becomes networkd's own files at every
/// boot: Debian's `90-default.yaml` is a `10-netplan-all-en.network` with DHCP, which comes before a
/// profile's and whose first match counts. Source: netplan-generate(8), systemd.network(5).
const NETPLAN: &str = "/etc/netplan";
/// What packages bring; a file of the same name in the other takes its place.
const NETPLAN_OF_PACKAGES: [&str; 2] = ["/usr/lib/netplan", "/lib/netplan"];

/// Whether the image gets a user of its own, now or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstUser {
    /// The publisher's dialogue would make another, or rename this one.
    Made,
    /// The publisher's dialogue is the only way to log in.
    Missing,
}

/// What `tree` needs to be left alone, when `changes` are to be made to it: cloud-init off, no
/// questions about users, host keys kept, and one manager of the network.
pub(crate) fn switch_off(
    tree: &dyn Tree,
    changes: &[Change],
    first_user: FirstUser,
) -> Result<Vec<Change>> {
    let has = |path: &str| -> Result<bool> { Ok(tree.metadata(Path::new(path))?.is_some()) };
    let file = |path: &str, text: &str| Action::File {
        path: path.into(),
        content: Content::public(text),
        mode: 0o644,
        owner: Owner::root(),
    };
    let unit = |name: &str, state| Action::Unit { name: name.into(), state };
    let mut actions = Vec::new();
    if has("/etc/cloud")? {
        actions.push(file("/etc/cloud/cloud-init.disabled", "disabled by nodeforge\n"));
    }
    if first_user == FirstUser::Made && units::exists(tree, WIZARD)? {
        actions.push(unit(WIZARD, UnitState::Masked));
        actions.push(unit("getty@tty1.service", UnitState::Enabled));
        actions.push(Action::Remove { path: BANNER.into() });
    }
    if has(FIRST_BOOT)? {
        let argument = format!("init={FIRST_BOOT}");
        actions.push(Action::KernelArgumentRemoved { argument });
    }
    if units::exists(tree, HOST_KEYS)? {
        actions.push(unit(HOST_KEYS, UnitState::Masked));
    }
    if is_networkds(changes) {
        if units::exists(tree, NETWORK_MANAGER[2])? {
            actions.extend(NETWORK_MANAGER.map(|name| unit(name, UnitState::Masked)));
        }
        if has(NETPLAN)? {
            actions.push(Action::Remove { path: format!("{NETPLAN}/*.yaml") });
        }
        for name in netplan_of_packages(tree)? {
            actions.push(file(&format!("{NETPLAN}/{name}"), "network:\n  version: 2\n"));
        }
    }
    let own = |action| Change::new(action, Requester::Nodeforge);
    Ok(actions.into_iter().map(own).collect())
}

/// Whether these changes make the network systemd-networkd's.
pub(crate) fn is_networkds(changes: &[Change]) -> bool {
    changes.iter().any(|change| {
        matches!(&change.action, Action::Unit { name, state: UnitState::Enabled }
            if name == "systemd-networkd.service")
    })
}

fn netplan_of_packages(tree: &dyn Tree) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for folder in NETPLAN_OF_PACKAGES.map(Path::new) {
        if files::is_directory(tree, folder)? {
            let entries = tree.read_dir(folder)?.into_iter();
            let entries = entries.filter_map(|entry| entry.name.into_string().ok());
            names.extend(entries.filter(|name| name.ends_with(".yaml")));
        }
    }
    Ok(names)
}
