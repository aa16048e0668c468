//! Takes out of an image what is one machine's own, and what only the build needed.
//!
//! Sources: virt-sysprep's operations, systemd's "Safely Building Images", machine-id(5).

use std::path::Path;

use crate::apply;
use crate::fs::{Attributes, FileType, Tree};
use crate::util::error::Result;

/// Removed where they are. A `*` in the last component stands for any characters.
const REMOVED: [&str; 46] = [
    "/etc/ssh/ssh_host_*",
    "/etc/ssh/sshd_config.d/50-cloud-init.conf",
    "/etc/sudoers.d/90-cloud-init-users",
    "/etc/network/interfaces.d/50-cloud-init.cfg",
    "/etc/systemd/network/10-cloud-init-*.network",
    "/etc/netplan/50-cloud-init.yaml",
    "/etc/netplan/90-NM-*.yaml",
    "/etc/NetworkManager/system-connections/*",
    "/etc/hostname",
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

const ROOT: Attributes = Attributes { mode: 0o644, uid: 0, gid: 0 };

/// Takes identity, history and caches out of a root file system.
pub(crate) fn generalise(tree: &mut dyn Tree) -> Result<()> {
    for pattern in REMOVED {
        apply::remove(tree, pattern)?;
    }
    empty_logs(tree, Path::new("/var/log"))?;
    forget_own_name(tree)?;

    // Neither missing nor empty: this alone makes the next boot a first boot everywhere, and
    // lets `systemd` put the new id in its place on a read-only root too.
    let id = Path::new("/etc/machine-id");
    tree.write(id, b"uninitialized\n", Some(Attributes { mode: 0o444, ..ROOT }))?;
    if tree.metadata(Path::new("/var/lib/dbus"))?.is_some() {
        tree.symlink(Path::new("/var/lib/dbus/machine-id"), id)?;
    }
    Ok(())
}

/// Empties every log, but leaves it there with its owner: not every daemon can make its own.
fn empty_logs(tree: &mut dyn Tree, folder: &Path) -> Result<()> {
    let is_folder = tree.metadata(folder)?.is_some_and(|it| it.file_type == FileType::Directory);
    if !is_folder {
        return Ok(());
    }
    for entry in tree.read_dir(folder)? {
        let path = folder.join(&entry.name);
        match entry.file_type {
            FileType::Directory => empty_logs(tree, &path)?,
            FileType::File => tree.write(&path, b"", None)?,
            _ => {}
        }
    }
    Ok(())
}

/// Takes the 127.0.1.1 line, which is the machine's own name, out of /etc/hosts.
fn forget_own_name(tree: &mut dyn Tree) -> Result<()> {
    let path = Path::new("/etc/hosts");
    let Some(text) = read_small(tree, path)? else { return Ok(()) };
    let kept: Vec<&str> = text
        .split_inclusive('\n')
        .filter(|line| line.split_whitespace().next() != Some("127.0.1.1"))
        .collect();
    let kept = kept.concat();
    if kept == text { Ok(()) } else { tree.write(path, kept.as_bytes(), None) }
}

/// A text file of at most 64 KiB; `None` when it is missing, larger or no text.
fn read_small(tree: &dyn Tree, path: &Path) -> Result<Option<String>> {
    let is_small = |it: &crate::fs::Metadata| it.file_type == FileType::File && it.size <= 1 << 16;
    if !tree.metadata(path)?.as_ref().is_some_and(is_small) {
        return Ok(None);
    }
    Ok(tree.read(path, 1 << 16)?.and_then(|bytes| String::from_utf8(bytes).ok()))
}
