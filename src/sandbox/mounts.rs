//! The file systems that every program expects, made for the sandbox alone.

use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::{fs, io};

use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, move_mount, open_tree,
};

use crate::util::error::{Context, Result};

/// Devices that packages' scripts use, and that cannot harm the host.
const DEVICES: [&str; 6] =
    ["/dev/full", "/dev/null", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero"];

/// The usual links in /dev.
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
];

/// A folder or device of the host, held so that it can be seen elsewhere.
pub(crate) struct BindMount {
    tree: OwnedFd,
    to: String,
}

impl BindMount {
    /// Takes `from` as it is, without what may be mounted below it.
    pub(crate) fn new(from: &Path, to: &str) -> Result<Self> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, from, flags)
            .map_err(io::Error::from)
            .context(|| format!("cannot show `{}` to the sandbox", from.display()))?;
        Ok(Self { tree, to: to.to_owned() })
    }

    fn attach(&self) -> Result<()> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&self.tree, "", CWD, self.to.as_str(), flags)
            .map_err(io::Error::from)
            .context(|| format!("cannot mount `{}`", self.to))
    }
}

/// The host's harmless devices: an unprivileged user namespace cannot make any.
pub(crate) fn devices() -> Result<Vec<BindMount>> {
    DEVICES.iter().map(|&path| BindMount::new(Path::new(path), path)).collect()
}

/// Mounts the usual file systems in the current root, noting what is to be unmounted again.
///
/// The root is entered already, so that a link in it leads nowhere outside. `/sys` is empty:
/// what machine this is must not show in the image.
pub(crate) fn mount_systems(devices: &[BindMount], mounted: &mut Vec<String>) -> Result<()> {
    let strict = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let plain = MountFlags::NOSUID | MountFlags::NODEV;
    let read_only = strict | MountFlags::RDONLY;
    let systems = [
        ("proc", "/proc", strict, ""),
        ("tmpfs", "/sys", read_only, "mode=555"),
        ("tmpfs", "/dev", MountFlags::NOSUID | MountFlags::NOEXEC, "mode=755"),
        ("tmpfs", "/run", plain, "mode=755"),
        ("tmpfs", "/tmp", plain, "mode=1777"),
    ];
    for (kind, path, flags, data) in systems {
        mount_one(kind, path, flags, data, mounted)?;
    }
    for device in devices {
        fs::File::create_new(&device.to).context(|| format!("cannot create `{}`", device.to))?;
        device.attach()?;
    }
    mount_one("devpts", "/dev/pts", MountFlags::empty(), "newinstance,ptmxmode=0666", mounted)?;
    mount_one("tmpfs", "/dev/shm", plain, "mode=1777", mounted)?;
    for (target, link) in LINKS {
        symlink(target, link).context(|| format!("cannot link `{link}`"))?;
    }
    fs::create_dir("/run/lock")?;
    fs::set_permissions("/run/lock", fs::Permissions::from_mode(0o1777))?;
    Ok(())
}

/// Mounts folders of the host where they are to be seen.
pub(crate) fn mount_binds(folders: &[BindMount], mounted: &mut Vec<String>) -> Result<()> {
    for folder in folders {
        fs::create_dir_all(&folder.to).context(|| format!("cannot create `{}`", folder.to))?;
        folder.attach()?;
        mounted.push(folder.to.clone());
    }
    Ok(())
}

fn mount_one(
    kind: &str,
    path: &str,
    flags: MountFlags,
    data: &str,
    mounted: &mut Vec<String>,
) -> Result<()> {
    let data = std::ffi::CString::new(data).expect("no NUL in a literal");
    fs::create_dir_all(path).context(|| format!("cannot create `{path}`"))?;
    mount(kind, path, kind, flags, data.as_c_str())
        .map_err(io::Error::from)
        .context(|| format!("cannot mount `{path}`"))?;
    mounted.push(path.to_owned());
    Ok(())
}

/// Takes a mount away, with all below it.
pub(crate) fn unmount(path: &str) -> Result<()> {
    rustix::mount::unmount(path, UnmountFlags::DETACH)
        .map_err(io::Error::from)
        .context(|| format!("cannot unmount `{path}`"))
}
