//! The file systems that every program expects, made for the sandbox alone.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::{fs, io};

use rustix::fs::{CWD, StatVfsMountFlags};
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_bind, mount_remount,
    move_mount, open_tree,
};

use crate::util::error::{Context, Error, Result};

/// Devices that packages' scripts use, and that cannot harm the host. `/dev/tty` is whatever terminal a
/// process has, and in the sandbox that is never the user's.
const DEVICES: [&str; 6] =
    ["/dev/full", "/dev/null", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero"];

/// Files of `/proc` that root could change the host by, as their owner: seen, and not written. So is every
/// folder there that is not a process's.
const READ_ONLY: [&str; 2] = ["/proc/sysrq-trigger", "/proc/mtrr"];

/// And those that tell what is not the image's business: empty.
const MASKED: [&str; 15] = [
    "/proc/kcore",
    "/proc/keys",
    "/proc/key-users",
    "/proc/kmsg",
    "/proc/kallsyms",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/latency_stats",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/slabinfo",
    "/proc/vmallocinfo",
];

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
    is_read_only: bool,
}

impl BindMount {
    /// Takes `from` as it is, without what may be mounted below it.
    pub(crate) fn new(from: &Path, to: &str) -> Result<Self> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, from, flags)
            .map_err(io::Error::from)
            .context(|| format!("cannot show `{}` to the sandbox", from.display()))?;
        Ok(Self { tree, to: to.to_owned(), is_read_only: false })
    }

    /// The same, for who only reads.
    pub(crate) fn read_only(from: &Path, to: &str) -> Result<Self> {
        Ok(Self { is_read_only: true, ..Self::new(from, to)? })
    }

    fn attach(&self) -> Result<()> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&self.tree, "", CWD, self.to.as_str(), flags)
            .map_err(io::Error::from)
            .context(|| format!("cannot mount `{}`", self.to))
    }

    /// A folder: its devices cannot be opened, and its setuid bits do nothing.
    fn attach_folder(&self) -> Result<()> {
        self.attach()?;
        let more = if self.is_read_only { MountFlags::RDONLY } else { MountFlags::empty() };
        restrict(Path::new(&self.to), MountFlags::NOSUID | MountFlags::NODEV | more)
    }
}

/// Adds flags to what is mounted at `path`, and keeps those that it has.
///
/// A user namespace may not take away what the namespace above has set.
pub(crate) fn restrict(path: &Path, flags: MountFlags) -> Result<()> {
    let change = || -> io::Result<()> {
        let has = rustix::fs::statvfs(path)?.f_flag;
        let kept = [
            (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
            (StatVfsMountFlags::NODEV, MountFlags::NODEV),
            (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
            (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
            (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
            (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
            (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        ];
        let kept = kept.iter().filter(|(it, _)| has.contains(*it)).map(|(_, flag)| *flag);
        let all = kept.fold(flags | MountFlags::BIND, MountFlags::union);
        Ok(mount_remount(path, all, c"")?)
    };
    change().context(|| format!("cannot restrict the mount `{}`", path.display()))
}

/// Sees a folder as a mount of its own.
pub(crate) fn bind_onto_itself(path: &Path) -> Result<()> {
    mount_bind(path, path)
        .map_err(io::Error::from)
        .context(|| format!("cannot mount `{}`", path.display()))
}

/// Mounts an empty file system in memory at a folder, which is made.
pub(crate) fn mount_memory(path: &Path, data: &CStr) -> Result<()> {
    std::fs::create_dir_all(path).context(|| format!("cannot create `{}`", path.display()))?;
    mount("tmpfs", path, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, data)
        .map_err(io::Error::from)
        .context(|| format!("cannot mount `{}`", path.display()))
}

/// The host's harmless devices: an unprivileged user namespace cannot make any.
pub(crate) fn devices() -> Result<Vec<BindMount>> {
    DEVICES.iter().map(|&path| BindMount::new(Path::new(path), path)).collect()
}

/// Mounts the usual file systems in the current root, but for `/run` and `/tmp`.
///
/// The root is entered already, so that a link in it leads nowhere outside. `/sys` is empty:
/// what machine this is must not show in the image.
pub(crate) fn mount_systems(devices: &[BindMount]) -> Result<()> {
    let strict = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let plain = MountFlags::NOSUID | MountFlags::NODEV;
    mount_one("proc", "/proc", strict, c"")?;
    mount_one("tmpfs", "/sys", strict | MountFlags::RDONLY, c"mode=555")?;
    mount_one("tmpfs", "/dev", strict, c"mode=755")?;
    for device in devices {
        fs::File::create_new(&device.to).context(|| format!("cannot create `{}`", device.to))?;
        device.attach()?;
        // What is written to a device goes to it all the same; its owner and mode are the host's.
        let read_only = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NOEXEC;
        restrict(Path::new(&device.to), read_only)?;
    }
    let terminals = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount_one("devpts", "/dev/pts", terminals, c"newinstance,ptmxmode=0666")?;
    mount_one("tmpfs", "/dev/shm", plain, c"mode=1777")?;
    for (target, link) in LINKS {
        symlink(target, link).context(|| format!("cannot link `{link}`"))?;
    }
    protect_proc()
}

fn protect_proc() -> Result<()> {
    let mut read_only: Vec<PathBuf> = READ_ONLY.map(PathBuf::from).into();
    for entry in fs::read_dir("/proc").context(|| "cannot read `/proc`")? {
        let entry = entry?;
        let is_process =
            entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit);
        if entry.file_type()?.is_dir() && !is_process {
            read_only.push(entry.path());
        }
    }
    for path in read_only.iter().filter(|it| it.exists()) {
        bind_onto_itself(path)?;
        restrict(path, MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV)?;
    }
    for path in MASKED.map(Path::new).into_iter().filter(|it| it.exists()) {
        mount_bind("/dev/null", path)
            .map_err(io::Error::from)
            .context(|| format!("cannot hide `{}`", path.display()))?;
    }
    Ok(())
}

/// Mounts folders of the host where they are to be seen, noting what is to be unmounted again.
pub(crate) fn mount_binds(folders: &[BindMount], mounted: &mut Vec<String>) -> Result<()> {
    for folder in folders {
        fs::create_dir_all(&folder.to).context(|| format!("cannot create `{}`", folder.to))?;
        refuse_link(&folder.to)?;
        folder.attach_folder()?;
        mounted.push(folder.to.clone());
    }
    Ok(())
}

fn refuse_link(path: &str) -> Result<()> {
    if fs::symlink_metadata(path)?.is_symlink() {
        return Err(Error::failure(format!("`{path}` is a link in this image, not a folder")));
    }
    Ok(())
}

fn mount_one(kind: &str, path: &str, flags: MountFlags, data: &CStr) -> Result<()> {
    fs::create_dir_all(path).context(|| format!("cannot create `{path}`"))?;
    refuse_link(path)?;
    mount(kind, path, kind, flags, data)
        .map_err(io::Error::from)
        .context(|| format!("cannot mount `{path}`"))
}

/// Takes a mount away, with all below it.
pub(crate) fn unmount(path: &str) -> Result<()> {
    rustix::mount::unmount(path, UnmountFlags::DETACH)
        .map_err(io::Error::from)
        .context(|| format!("cannot unmount `{path}`"))
}
