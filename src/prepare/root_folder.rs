//! A base's root file system as a folder, in one of two ways, and back into the image.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::disk::{Disk, Raw, Slice};
use crate::fs as trees;
use crate::fs::ImagePartition;
use crate::fs::mkfs::NewExt4;
use crate::fs::{Attributes, Namespace, Tree};
use crate::image::{Image, SkippedNode, extract};
use crate::sandbox::Sandbox;
use crate::util::clock;
use crate::util::error::{Context, Error, Result};
use crate::util::process::Tool;

/// How long the last users of a mount may take to leave it.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// A root file system that can be worked in.
pub(crate) struct RootFolder<'a> {
    folder: PathBuf,
    partition: &'a ImagePartition,
    access: RootAccess,
}

enum RootAccess {
    /// A partition of the machine's own disk, mounted. What is open is told of every error since then.
    Attached { device: String, blocks: File, mounted: File },
    /// The image itself is mounted.
    Mounted,
    /// Unpacked, to be packed again into a file system like the one it came from.
    Unpacked { ext4: NewExt4, devices: Vec<SkippedNode> },
}

impl<'a> RootFolder<'a> {
    /// Makes the root reachable below `scratch`.
    pub(crate) fn open(
        sandbox: Sandbox,
        base: &Path,
        partition: &'a ImagePartition,
        scratch: &Path,
    ) -> Result<Self> {
        let folder = scratch.join("root");
        fs::create_dir_all(&folder)?;
        let access = match sandbox {
            Sandbox::Loop => {
                mount(partition, &folder)?;
                RootAccess::Mounted
            }
            Sandbox::Vm => {
                let device = grown(partition_device(partition)?)?;
                let blocks = File::open(&device).context(|| format!("cannot open `{device}`"))?;
                let flags = MountFlags::NOSUID | MountFlags::NODEV;
                rustix::mount::mount(&device, &folder, "ext4", flags, None)
                    .map_err(std::io::Error::from)
                    .context(|| "cannot mount the root file system")?;
                RootAccess::Attached { device, blocks, mounted: File::open(&folder)? }
            }
            Sandbox::None => return Err(Error::failure("in the sandbox `none` nothing runs")),
            Sandbox::Userns => {
                let ext4 = NewExt4::read(base, partition.offset)?;
                let devices = unpack(base, partition.offset, &folder).context(|| {
                    format!("unpacking the root file system of `{}`", base.display())
                })?;
                RootAccess::Unpacked { ext4, devices }
            }
        };
        Ok(Self { folder, partition, access })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    /// Puts everything into the image.
    pub(crate) fn close(self) -> Result<()> {
        match self.access {
            RootAccess::Mounted => {
                let ImagePartition { disk, offset, .. } = self.partition;
                unmount(&format!("{}?offset={offset}", disk.display()), &self.folder)
            }
            RootAccess::Attached { device, blocks, mounted } => {
                // Unmounting is silent about what cannot be written, as when the disk outside is full.
                let written = rustix::fs::syncfs(&mounted).map_err(std::io::Error::from);
                written.context(|| "cannot write the root file system")?;
                drop(mounted);
                unmount(&device, &self.folder)?;
                blocks.sync_all().context(|| "cannot write the root file system")
            }
            RootAccess::Unpacked { ext4, devices } => {
                ext4.make(self.partition, &self.folder, clock::now()?)?;
                make_devices(self.partition, &devices)
            }
        }
    }
}

/// Unpacks the ext4 of the partition that begins at `offset`; returns what cannot be unpacked.
fn unpack(base: &Path, offset: u64, folder: &Path) -> Result<Vec<SkippedNode>> {
    let disk: Arc<dyn Disk> = Arc::new(Raw::open(base)?);
    let image = Image::open(Arc::clone(&disk), 0)?;
    let range = image.root().range.clone();
    if range.start != offset {
        return Err(Error::failure("the root partition is not where it was"));
    }
    // The root alone: what is mounted in it has partitions of its own.
    let tree = Namespace::new(trees::open(Arc::new(Slice::new(disk, range)?), 0)?);
    Ok(extract(&tree, folder)?.devices)
}

/// Mounts the image's root after growing its file system into the partition, which has grown.
///
/// mount(8) sets the loop device up to clear itself when it is no longer used, so none outlives
/// a killed build. Growing is done unmounted: the kernel lets only those with `CAP_SYS_RESOURCE`
/// grow what is mounted, which root in a container lacks.
fn mount(partition: &ImagePartition, folder: &Path) -> Result<()> {
    let options =
        format!("loop,nodev,nosuid,offset={},sizelimit={}", partition.offset, partition.size);
    let mount = |tool: Tool| {
        tool.arg(folder).run().map(drop).context(|| "cannot mount the root file system")
    };
    mount(Tool::new("mount", "mount").args(["-t", "ext4", "-o", &options]).arg(&partition.disk))
        .map_err(|error| error.hint("`--sandbox userns` needs no loop devices"))?;
    let device = mounted_device(folder)?;
    let in_use = File::open(&device).context(|| format!("cannot open `{device}`"))?;
    unmount_folder(folder)?;

    let device = grown(device)?;
    mount(Tool::new("mount", "mount").args(["-t", "ext4", "-o", "nodev,nosuid", &device]))?;
    drop(in_use);
    Ok(())
}

/// Mends a file system that is not mounted and makes it as large as its device, which it returns.
fn grown(device: String) -> Result<String> {
    let (output, code) = Tool::new("e2fsck", "e2fsprogs").args(["-fp", &device]).run_for_code()?;
    // 1: what was wrong is mended, such as a journal that had to be replayed.
    if !matches!(code, Some(0 | 1)) {
        return Err(output.failure().context("the root file system did not pass e2fsck"));
    }
    Tool::new("resize2fs", "e2fsprogs")
        .arg(&device)
        .run()
        .context(|| "cannot grow the root file system")?;
    Ok(device)
}

/// The kernel's name of a partition of a disk that is a device: the one that begins there.
fn partition_device(partition: &ImagePartition) -> Result<String> {
    let disk = fs::canonicalize(&partition.disk)?;
    if partition.offset == 0 {
        return Ok(disk.display().to_string());
    }
    let name = disk.file_name().unwrap_or_default();
    for entry in fs::read_dir(Path::new("/sys/block").join(name))? {
        let entry = entry?;
        let start = fs::read_to_string(entry.path().join("start")).unwrap_or_default();
        // In units of 512 bytes, whatever the disk's sectors are.
        if start.trim().parse::<u64>().is_ok_and(|it| it * 512 == partition.offset) {
            return Ok(format!("/dev/{}", entry.file_name().to_string_lossy()));
        }
    }
    Err(Error::failure("the machine's kernel does not see the root partition"))
}

fn mounted_device(folder: &Path) -> Result<String> {
    let output = Tool::new("findmnt", "util-linux")
        .args(["--noheadings", "--output", "SOURCE", "--mountpoint"])
        .arg(folder)
        .run()?;
    Ok(output.trim().to_owned())
}

/// What `tune2fs` calls the file system is `name`.
fn unmount(name: &str, folder: &Path) -> Result<()> {
    // What was deleted must not stay in the image: neither its bytes nor their room.
    Tool::new("fstrim", "util-linux").arg(folder).run().context(|| "cannot free unused blocks")?;
    unmount_folder(folder)?;
    // Otherwise it names a folder of this machine for ever.
    Tool::new("tune2fs", "e2fsprogs").args(["-M", "/", name]).run()?;
    Ok(())
}

fn unmount_folder(folder: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match rustix::mount::unmount(folder, UnmountFlags::empty()) {
            // A process that was killed may take a moment to be gone.
            Err(Errno::BUSY) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            done => {
                return done
                    .map_err(std::io::Error::from)
                    .context(|| "cannot unmount the root file system");
            }
        }
    }
}

/// A user namespace cannot make devices; in the image they are two numbers like any others.
fn make_devices(partition: &ImagePartition, devices: &[SkippedNode]) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    let disk = Arc::new(Raw::open_writable(&partition.disk)?);
    let partition = Slice::new(disk, partition.offset..partition.offset + partition.size)?;
    let mut tree = Namespace::new(trees::open(Arc::new(partition), clock::now()?)?);
    for device in devices {
        let attributes = Attributes { mode: device.mode, uid: device.uid, gid: device.gid };
        let number = (device.major, device.minor);
        tree.create_node(&device.path, device.file_type, number, attributes)?;
    }
    tree.flush()
}
