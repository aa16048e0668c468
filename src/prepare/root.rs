//! A base's root file system as a folder, in one of two ways, and back into the image.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::partitions::Place;
use crate::disk::{Disk, Raw, Slice};
use crate::fs as trees;
use crate::fs::mkfs::NewExt4;
use crate::fs::{Attributes, Namespace, Tree};
use crate::image::{DeviceNode, Image, extract};
use crate::sandbox::Sandbox;
use crate::util::clock;
use crate::util::error::{Context, Error, Result};
use crate::util::process::Tool;

/// How long the last users of a mount may take to leave it.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// A root file system that can be worked in.
pub(crate) struct Root<'a> {
    folder: PathBuf,
    place: &'a Place,
    way: Way,
}

enum Way {
    /// The image itself is mounted.
    Mounted,
    /// Unpacked, to be packed again into a file system like the one it came from.
    Unpacked { ext4: NewExt4, devices: Vec<DeviceNode> },
}

impl<'a> Root<'a> {
    /// Makes the root reachable below `scratch`.
    pub(crate) fn open(
        sandbox: Sandbox,
        base: &Path,
        place: &'a Place,
        scratch: &Path,
    ) -> Result<Self> {
        let folder = scratch.join("root");
        fs::create_dir_all(&folder)?;
        let way = match sandbox {
            Sandbox::Loop => {
                mount(place, &folder)?;
                Way::Mounted
            }
            Sandbox::None => return Err(Error::failure("in the sandbox `none` nothing runs")),
            Sandbox::Userns => {
                let ext4 = NewExt4::read(base, place.offset)?;
                let devices = unpack(base, place.offset, &folder).context(|| {
                    format!("unpacking the root file system of `{}`", base.display())
                })?;
                Way::Unpacked { ext4, devices }
            }
        };
        Ok(Self { folder, place, way })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    /// Puts everything into the image.
    pub(crate) fn close(self) -> Result<()> {
        match self.way {
            Way::Mounted => unmount(self.place, &self.folder),
            Way::Unpacked { ext4, devices } => {
                ext4.make(self.place, &self.folder, clock::now()?)?;
                make_devices(self.place, &devices)
            }
        }
    }
}

/// Unpacks the ext4 of the partition that begins at `offset`; returns what cannot be unpacked.
fn unpack(base: &Path, offset: u64, folder: &Path) -> Result<Vec<DeviceNode>> {
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
/// mount(8) sets the loop device up to clear itself when nobody uses it any more, so none outlives
/// a killed build. Growing is done unmounted: the kernel lets only those with `CAP_SYS_RESOURCE`
/// grow what is mounted, which root in a container lacks.
fn mount(place: &Place, folder: &Path) -> Result<()> {
    let options = format!("loop,offset={},sizelimit={}", place.offset, place.size);
    let mount =
        |tool: Tool| tool.arg(folder).run().map(drop).context(|| "mounting the root file system");
    mount(Tool::new("mount", "mount").args(["-t", "ext4", "-o", &options]).arg(&place.disk))?;
    let device = mounted_device(folder)?;
    let in_use = File::open(&device).context(|| format!("opening `{device}`"))?;
    unmount_folder(folder)?;

    let (output, code) = Tool::new("e2fsck", "e2fsprogs").args(["-fp", &device]).run_for_code()?;
    // 1: what was wrong is mended, such as a journal that had to be replayed.
    if !matches!(code, Some(0 | 1)) {
        return Err(output.failure().context("checking the root file system"));
    }
    Tool::new("resize2fs", "e2fsprogs")
        .arg(&device)
        .run()
        .context(|| "growing the root file system")?;
    mount(Tool::new("mount", "mount").args(["-t", "ext4", &device]))?;
    drop(in_use);
    Ok(())
}

fn mounted_device(folder: &Path) -> Result<String> {
    let output = Tool::new("findmnt", "util-linux")
        .args(["--noheadings", "--output", "SOURCE", "--mountpoint"])
        .arg(folder)
        .run()?;
    Ok(output.trim().to_owned())
}

fn unmount(place: &Place, folder: &Path) -> Result<()> {
    // What was deleted must not stay in the image: neither its bytes nor their room.
    Tool::new("fstrim", "util-linux").arg(folder).run().context(|| "freeing unused blocks")?;
    unmount_folder(folder)?;
    // Or it would name a folder of this machine for ever.
    let image = format!("{}?offset={}", place.disk.display(), place.offset);
    Tool::new("tune2fs", "e2fsprogs").args(["-M", "/", &image]).run()?;
    Ok(())
}

fn unmount_folder(folder: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match rustix::mount::unmount(folder, UnmountFlags::empty()) {
            // Who was killed may take a moment to be gone.
            Err(Errno::BUSY) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            done => {
                return done
                    .map_err(std::io::Error::from)
                    .context(|| "unmounting the root file system");
            }
        }
    }
}

/// A user namespace cannot make devices; in the image they are two numbers like any others.
fn make_devices(place: &Place, devices: &[DeviceNode]) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    let disk = Arc::new(Raw::open_writable(&place.disk)?);
    let partition = Slice::new(disk, place.offset..place.offset + place.size)?;
    let mut tree = Namespace::new(trees::open(Arc::new(partition), clock::now()?)?);
    for device in devices {
        let attributes = Attributes { mode: device.mode, uid: device.uid, gid: device.gid };
        let number = (device.major, device.minor);
        tree.create_node(&device.path, device.file_type, number, attributes)?;
    }
    tree.flush()
}
