//! Takes out of an image what is one machine's own, and what only the build needed.
//!
//! Sources: virt-sysprep's operations, systemd's "Safely Building Images", machine-id(5), the postinst of
//! systemd-resolved and resolvconf, which keep the `resolv.conf` that they replace: the name servers of a builder.

use std::path::Path;

use super::{files, identity};
use crate::fs::{FileType, Tree};
use crate::util::error::Result;

/// Removed where they are. A `*` in the last component stands for any characters.
const REMOVED: [&str; 47] = [
    "/etc/ssh/ssh_host_*",
    "/etc/ssh/sshd_config.d/50-cloud-init.conf",
    "/etc/sudoers.d/90-cloud-init-users",
    "/etc/network/interfaces.d/50-cloud-init.cfg",
    "/etc/systemd/network/10-cloud-init-*.network",
    "/etc/netplan/50-cloud-init.yaml",
    "/etc/netplan/90-NM-*.yaml",
    "/etc/NetworkManager/system-connections/*",
    "/etc/.resolv.conf.systemd-resolved.bak",
    "/etc/resolvconf/resolv.conf.d/original",
    "/etc/machine-info",
    "/etc/udev/rules.d/70-persistent-net.rules",
    "/etc/nvme/hostnqn",
    "/etc/nvme/hostid",
    "/etc/iscsi/initiatorname.iscsi",
    "/etc/lvm/devices/*",
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
    "/etc/subuid-",
    "/etc/subgid-",
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/credential.secret",
    "/var/lib/systemd/timesync/clock",
    "/var/lib/systemd/network/*",
    "/var/lib/dhcp/*",
    "/var/lib/dhcpcd/*",
    "/var/lib/NetworkManager/*.lease",
    "/var/lib/NetworkManager/secret_key",
    "/var/lib/NetworkManager/timestamps",
    "/var/lib/NetworkManager/seen-bssids",
    "/var/lib/cloud/*",
    "/var/lib/apt/lists/*",
    "/var/lib/dpkg/*-old",
    "/var/cache/apt/*.bin",
    "/var/cache/apt/archives/*",
    "/var/cache/debconf/*-old",
    "/var/cache/ldconfig/aux-cache",
    "/var/log/cloud-init*.log",
    "/var/log/journal/*",
    "/root/.bash_history",
    "/root/.cache",
    "/tmp/*",
    "/run/*",
    "/var/tmp/*",
    "/.dockerenv",
];

/// Takes identity, history and caches out of a root file system.
pub(crate) fn generalise(tree: &mut dyn Tree) -> Result<()> {
    for pattern in REMOVED {
        files::remove(tree, pattern)?;
    }
    empty_logs(tree, Path::new("/var/log"))?;
    identity::forget_hostname(tree)?;
    // Neither missing nor empty: this alone makes the next boot a first boot everywhere, and
    // lets `systemd` put the new id in its place on a read-only root too.
    identity::set_machine_id(tree, identity::UNINITIALIZED)
}

/// Empties every log, but leaves it there with its owner: not every daemon can create its own.
fn empty_logs(tree: &mut dyn Tree, folder: &Path) -> Result<()> {
    if !files::is_directory(tree, folder)? {
        return Ok(());
    }
    for entry in tree.read_dir(folder)? {
        let path = folder.join(&entry.name);
        match entry.file_type {
            FileType::Directory => empty_logs(tree, &path)?,
            FileType::File => tree.write(&path, b"", None)?,
            FileType::Symlink
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Fifo
            | FileType::Socket => {}
        }
    }
    Ok(())
}
