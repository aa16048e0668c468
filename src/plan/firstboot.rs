//! What a node does by itself when it first boots.

use std::collections::BTreeSet;

use super::list::ChangeList;
use crate::change::{Action, Content, Owner, Requester, UnitState};
use crate::config::{self, Cluster, DataPartition, FileSystemChoice, Node, Role};
use crate::guest::first_boot::{DISKS, STEPS};
use crate::guest::roles::{ROLES, RoleLine, RoleTable};

/// The step that the runner looks for besides those of a role.
const DISKS_STEP: &str = "06-disks";

/// Files of `firstboot/`, where they go, and their modes.
const FILES: [(&str, &str, u32); 8] = [
    ("k8s-firstboot.service", "/etc/systemd/system/k8s-firstboot.service", 0o644),
    ("k8s-firstboot.sh", "/usr/bin/k8s-firstboot.sh", 0o755),
    ("lib.sh", "/usr/lib/nodeforge/lib.sh", 0o644),
    ("nodeforge-firstboot", "/usr/bin/nodeforge-firstboot", 0o755),
    ("nodeforge-host-keys.service", "/etc/systemd/system/nodeforge-host-keys.service", 0o644),
    ("nodeforge-vmware.service", "/etc/systemd/system/nodeforge-vmware.service", 0o644),
    // After Raspberry Pi OS's own, 40-rpi-volatile-storage.conf.
    ("journald.conf", "/etc/systemd/journald.conf.d/90-nodeforge.conf", 0o644),
    ("watchdog.conf", "/etc/systemd/system.conf.d/90-nodeforge.conf", 0o644),
];

/// The units, the runner, the steps of a node's role (of all roles without a node), and the table
/// of roles.
pub(super) fn add(list: &mut ChangeList, cluster: &Cluster, node: Option<&Node>) {
    let profile = &cluster.profile;
    for (name, path, mode) in FILES {
        let bytes = config::firstboot(name).expect("compiled in");
        list.file(&Requester::Nodeforge, path, mode, bytes);
    }
    let is_wanted = |role: &&Role| node.is_none_or(|node| node.role == role.name);
    let mut installed = BTreeSet::new();
    for role in profile.roles.iter().filter(is_wanted) {
        for step in role.firstboot.iter().filter(|step| installed.insert(step.as_str())) {
            if let Some(script) = profile.firstboot_steps.get(step) {
                let content = Content::public(script.bytes.clone());
                let (path, owner) = (format!("{STEPS}/{step}"), Owner::root());
                let sources = script.source.iter().map(|path| cluster.shown(path)).collect();
                let action = Action::File { path, content, mode: 0o755, owner };
                list.push_from(&Requester::Role(role.name.clone()), action, sources);
            }
        }
    }
    list.file(&Requester::Nodeforge, ROLES, 0o644, roles(cluster, node));
    disks(list, cluster, node);
    let units =
        ["nodeforge-host-keys.service", "nodeforge-vmware.service", "k8s-firstboot.service"];
    for unit in units {
        list.unit(&Requester::Nodeforge, unit, UnitState::Enabled);
    }
}

/// The table of roles. Roles that the cluster file gave by name come first.
fn roles(cluster: &Cluster, node: Option<&Node>) -> String {
    let mut table = RoleTable::default();
    let mut line = |pattern: &str, role: &Role| {
        let (role, steps) = (role.name.clone(), role.firstboot.clone());
        table.push(RoleLine { pattern: pattern.to_owned(), role, steps });
    };
    let all = &cluster.profile.roles;
    let own = |other: &&Node| node.is_none_or(|node| node.hostname == other.hostname);
    for named in cluster.nodes.iter().filter(|node| node.role_is_explicit).filter(own) {
        if let Some(role) = all.iter().find(|role| role.name == named.role) {
            line(&named.hostname, role);
        }
    }
    for role in all {
        line(&role.pattern_text, role);
    }
    table.to_string()
}

/// What becomes of the disk behind the root, and of other disks. Lines of `NAME DISK MIB KIND MOUNT`.
fn disks(list: &mut ChangeList, cluster: &Cluster, node: Option<&Node>) {
    let disk = &cluster.disk;
    let is_own = |it: &&DataPartition| {
        // Machines that are still to get a role have what all have.
        it.roles.is_empty() || node.is_some_and(|node| it.roles.contains(&node.role))
    };
    let partitions: Vec<_> = disk.partitions.iter().filter(is_own).collect();
    if disk.root_size.is_none() && partitions.is_empty() {
        return;
    }
    let origin = Requester::ClusterFile;
    let mut lines =
        String::from("# What the steps of first boot read: NAME DISK MIB KIND MOUNT.\n");
    if let Some(size) = disk.root_size {
        lines.push_str(&format!("root - {} - -\n", size >> 20));
        // Others would grow it over all there is, before the first step: Raspberry Pi OS, and
        // cloud-initramfs-growroot.
        list.push(&origin, Action::KernelArgumentRemoved { argument: "resize".into() });
        list.file(&origin, "/etc/growroot-disabled", 0o644, "");
    }
    for it in &partitions {
        let size = it.size.map_or_else(|| "rest".to_owned(), |size| (size >> 20).to_string());
        let kind = match it.file_system {
            FileSystemChoice::Ext4 => "ext4",
            FileSystemChoice::Xfs => "xfs",
            FileSystemChoice::Raw => "raw",
        };
        let (place, mount) =
            (it.disk.as_deref().unwrap_or("-"), it.mount.as_deref().unwrap_or("-"));
        lines.push_str(&format!("{} {place} {size} {kind} {mount}\n", it.name));
    }
    list.file(&origin, DISKS, 0o644, lines);
    if !partitions.is_empty() {
        let step = config::firstboot(&format!("steps/{DISKS_STEP}")).expect("compiled in");
        list.file(&origin, &format!("{STEPS}/{DISKS_STEP}"), 0o755, step);
    }
}
