//! Publishers' own ways of setting a machine up: nodeforge does their part, and they would undo it.

use std::path::Path;

use crate::error::Result;
use crate::fs::Tree;
use crate::plan::{Action, Change, Content, Origin, Owner, UnitState};
use crate::stamp;

/// Raspberry Pi OS's dialogue about the first user; getty@tty1 is off until it is over.
const WIZARD: &str = "userconfig.service";
/// It says at every login that no user has been set up yet.
const BANNER: &str = "/etc/ssh/sshd_config.d/rename_user.conf";
/// In this order, so that none is wanted when its own is masked.
const NETWORK_MANAGER: [&str; 3] = [
    "NetworkManager-wait-online.service",
    "NetworkManager-dispatcher.service",
    "NetworkManager.service",
];
/// It leaves every interface to that service. The one in /etc shadows the other.
const NETPLAN: [&str; 2] =
    ["/etc/netplan/00-network-manager-all.yaml", "/usr/lib/netplan/00-network-manager-all.yaml"];

/// What `tree` needs to be left alone, when `changes` are to be made to it: cloud-init off, no
/// questions about users, and one manager of the network.
pub(super) fn hand_over(tree: &dyn Tree, changes: &[Change]) -> Result<Vec<Change>> {
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
    if stamp::has_unit(tree, WIZARD)? {
        actions.push(unit(WIZARD, UnitState::Masked));
        actions.push(unit("getty@tty1.service", UnitState::Enabled));
        actions.push(Action::Remove { path: BANNER.into() });
    }
    let is_networkd = |change: &Change| {
        matches!(&change.action, Action::Unit { name, state: UnitState::Enabled }
            if name == "systemd-networkd.service")
    };
    if changes.iter().any(is_networkd) && stamp::has_unit(tree, NETWORK_MANAGER[2])? {
        actions.extend(NETWORK_MANAGER.map(|name| unit(name, UnitState::Masked)));
        if has(NETPLAN[0])? || has(NETPLAN[1])? {
            actions.push(file(NETPLAN[0], "network:\n  version: 2\n"));
        }
    }
    let own = |action| Change { action, origin: Origin::Nodeforge };
    Ok(actions.into_iter().map(own).collect())
}
